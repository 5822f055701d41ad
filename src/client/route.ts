/** How a client finds its way to a member: over several endpoints (endpoints.ts) or within the process (in-process.ts). */
import type { Channel } from "../protocol/channel.ts";

export interface Route {
  /** How many members there are to turn to; 0 where there is only the one in this process. */
  readonly size: number;
  /** The channel in use, if there is one. */
  readonly current: Channel | undefined;
  /** Makes the leader's the channel in use, once that is known and reached; costs nobody a wait. */
  turnToLeader(): void;
  /** A channel to any member. Rejects once each was tried and none answered, with the last reason. */
  connect(): Promise<Channel>;
  /** The channel to one endpoint, for what must be asked of that member. */
  connectTo(endpoint: string): Promise<Channel>;
  /** The member behind this channel does not serve now: the next call goes to another, if there is one. */
  failed(channel: Channel): void;
  close(): void;
}

/** What calls of a closed client are told. */
export const CLOSED = "quorate: the client is closed";
