/** Dials some addresses by others: through a proxy or a tunnel. What members tell each other of addresses stays true. */
import type { Network } from "../network.ts";

export function reroute(network: Network, instead: Readonly<Record<string, string>>): Network {
  return {
    listen: (options) => network.listen(options),
    dial: (url, options) => network.dial(instead[url] ?? url, options),
  };
}
