/** `Client.connect` for Node: the client, over WebSockets. */
import { StoreError } from "../base/errors.ts";
import { Client } from "../client/client.ts";
import { silent } from "../platform/log.ts";
import { useNodeBytes } from "../platform/node/bytes.ts";
import { NodeClock } from "../platform/node/clock.ts";
import { NodeRandom } from "../platform/node/random.ts";
import { connectChannel } from "../transport/client-channel.ts";
import { WebSocketNetwork } from "../transport/node/websocket.ts";

export interface ConnectOptions {
  /** "127.0.0.1:7400", "ws://…": any members of one cluster. Default: the first three of `quorate cluster`. */
  readonly endpoints?: readonly string[];
  /** Milliseconds to wait for one connection. Default 2,000. */
  readonly dialTimeoutMs?: number;
  /** Milliseconds a call may take in all. Default 5,000. */
  readonly timeoutMs?: number;
  /** A member of which something is awaited is pinged when it has been silent for as long. Default 1,000, at most 10,000. */
  readonly keepAliveTimeMs?: number;
  /** One that stays silent for as long after that counts as lost. Default 3,000. */
  readonly keepAliveTimeoutMs?: number;
  /** Largest request in bytes. Default 2 MiB. */
  readonly maxSendBytes?: number;
  /**
   * Largest answer to a call in bytes: a larger one ends that call with `RESPONSE_TOO_LARGE`, before it is decoded, and the
   * connection goes on. Watches are not calls: they have a window. Default: no bound of the client's own.
   */
  readonly maxReceiveBytes?: number;
  /** Writes apply once, however often they were sent. Default true; without it they are sent as to etcd. */
  readonly exactlyOnce?: boolean;
  /** Turns to the leader with the first write or linearizable read, where it is among the endpoints. Default true. */
  readonly preferLeader?: boolean;
}

export const DEFAULT_ENDPOINTS: readonly string[] = ["127.0.0.1:7400", "127.0.0.1:7402", "127.0.0.1:7404"];

export function endpointUrl(endpoint: string): string {
  return /^[a-z]+:\/\//.test(endpoint) ? endpoint.replace(/^http/, "ws") : `ws://${endpoint}`;
}

/** A client of a running cluster. Connects lazily; close it when done (`await using`). */
export async function connect(options: ConnectOptions = {}): Promise<Client> {
  useNodeBytes();
  // A call that waits for its next attempt has no socket that would keep the process alive meanwhile: the clock's timers do.
  const clock = new NodeClock();
  const random = new NodeRandom();
  const network = new WebSocketNetwork();
  const { keepAliveTimeMs, keepAliveTimeoutMs, maxSendBytes, maxReceiveBytes } = options;
  const limits = { keepAliveTimeMs, keepAliveTimeoutMs, maxSendBytes, maxReceiveBytes };
  for (const [name, value] of Object.entries(limits)) {
    if (value !== undefined && !(value > 0)) {
      throw new StoreError("BAD_CONFIG", { message: `quorate: ${name} must be above 0, not ${value}` });
    }
  }
  return Client.open({
    clock,
    random,
    endpoints: options.endpoints ?? DEFAULT_ENDPOINTS,
    exactlyOnce: options.exactlyOnce,
    preferLeader: options.preferLeader,
    ...(options.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }),
    ...(options.dialTimeoutMs === undefined ? {} : { dialTimeoutMs: options.dialTimeoutMs }),
    dial: async (endpoint, timeoutMs) => {
      const connection = await network.dial(endpointUrl(endpoint), { maxFrameBytes: 1 << 30, timeoutMs });
      const channel = { clock, log: silent, timeoutMs, ...limits };
      return connectChannel(connection, channel);
    },
  });
}
