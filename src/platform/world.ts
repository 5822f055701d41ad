/** Everything a member takes from outside. In production Node's, in the simulator one seeded world's (design section 11). */
import type { Checksum } from "./checksum.ts";
import type { Clock } from "./clock.ts";
import type { Disk } from "./disk.ts";
import type { Logger } from "./log.ts";
import type { Random } from "./random.ts";

export interface World {
  readonly clock: Clock;
  readonly random: Random;
  readonly disk: Disk;
  readonly checksum: Checksum;
  /** HMAC-SHA-256. Proves the cluster secret without sending it. */
  readonly hmac: (key: Uint8Array, data: Uint8Array) => Uint8Array;
  readonly log: Logger;
}
