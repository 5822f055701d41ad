/** All pairs of an iterator in batches, each fetched while the one before it is used. */
import type { DatabaseIterator } from "../platform/disk.ts";

type Pairs = Awaited<ReturnType<DatabaseIterator["next"]>>;

/** Closes the iterator at its end, however that comes. */
export async function* readAhead(iterator: DatabaseIterator, count: number): AsyncGenerator<Pairs, void, undefined> {
  try {
    for (let next = iterator.next(count); ; ) {
      const pairs = await next;
      if (pairs.length === 0) return;
      next = iterator.next(count);
      // If nobody comes for it, nobody need know that it failed.
      next.catch(() => {});
      yield pairs;
    }
  } finally {
    await iterator.close();
  }
}
