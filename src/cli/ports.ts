/** Looks for ports that nobody listens on, so that a cluster is refused before anything was created. */
import { isFree } from "../platform/node/ports.ts";

/** `ws://[::1]:7400` -> host `::1`, port 7400. */
export function hostAndPort(url: string): { readonly host: string; readonly port: number } {
  const { hostname, port } = new URL(url);
  return { host: hostname.replace(/^\[|\]$/g, ""), port: Number(port === "" ? 80 : port) };
}

/** The first of these addresses that is taken. */
export async function firstTaken(urls: readonly string[]): Promise<string | undefined> {
  for (const url of urls) {
    const { host, port } = hostAndPort(url);
    if (!(await isFree(port, host))) return url;
  }
  return undefined;
}
