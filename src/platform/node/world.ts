/** A member's world in production. */
import { createHmac } from "node:crypto";
import { type Logger, silent } from "../log.ts";
import type { World } from "../world.ts";
import { useNodeBytes } from "./bytes.ts";
import { nodeChecksum } from "./checksum.ts";
import { NodeClock } from "./clock.ts";
import { NodeDisk } from "./disk.ts";
import { NodeRandom } from "./random.ts";

export interface NodeWorldOptions {
  /** The data directory; made when the first file is. */
  readonly dir: string;
  readonly log?: Logger | undefined;
}

export function nodeWorld({ dir, log }: NodeWorldOptions): World {
  useNodeBytes();
  return {
    clock: new NodeClock(),
    random: new NodeRandom(),
    disk: new NodeDisk(dir, log),
    checksum: nodeChecksum,
    hmac: (key, data) => new Uint8Array(createHmac("sha256", key).update(data).digest()),
    log: log ?? silent,
  };
}
