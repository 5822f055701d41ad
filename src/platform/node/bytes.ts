/** What Node does better with bytes than plain JavaScript. */
import { markAsUntransferable } from "node:worker_threads";
import { EMPTY, longByteStringsBy } from "../../base/bytes.ts";
import { keepSlabsBy } from "../../base/slab.ts";

/** Call it before the first bytes are handed out. */
export function useNodeBytes(): void {
  // Slabs stay in their thread, as Node's own pool of buffers does.
  keepSlabsBy(markAsUntransferable);
  // The one value of everything that is empty.
  markAsUntransferable(EMPTY.buffer);
  longByteStringsBy((bytes) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1"));
}
