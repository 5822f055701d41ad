/** Slabs stay in their thread, as Node's own pool of buffers does. */
import { markAsUntransferable } from "node:worker_threads";
import { keepSlabsBy } from "../../base/slab.ts";

/** Call it before the first bytes are handed out. */
export function keepSlabs(): void {
  keepSlabsBy(markAsUntransferable);
}
