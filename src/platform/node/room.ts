/**
 * Room for the old generation while long values come. V8 begins a full collection once the heap and the buffers outside of
 * it have grown together by about as much as the heap alone holds. A member with few keys has 20 MB of heap, and puts of
 * 64 KiB go through hundreds of megabytes of buffers a second: it was collected six to ten times a second for that. Where
 * collections come so often, the heap may grow to four times what lives; it does not, for the buffers then begin the
 * next one. For a process that is a member's alone, as in rest.ts.
 */
import { constants, PerformanceObserver } from "node:perf_hooks";
import { getHeapSpaceStatistics, setFlagsFromString } from "node:v8";
import type { Clock, Timer } from "../clock.ts";

const LOOK_MS = 1_000;
/** Full collections in one look from which on room is given. Short values cause less than one. */
const MANY = 3;
/** Looks without any after which it is taken back: before a rest of five seconds is noticed. */
const QUIET_LOOKS = 3;
/** With a larger heap collections are rare, and four times of it is a lot. */
const SMALL_BYTES = 48 << 20;

export interface Collections {
  /** Full ones since the last call. */
  count(): number;
  /** What the old generation uses. */
  oldBytes(): number;
  /** Whether the heap may grow to four times what lives before the one after the next; V8 decides otherwise. */
  room(given: boolean): void;
}

export function giveRoom(clock: Clock, collections: Collections): Timer {
  let given = false;
  let quiet = 0;
  return clock.every(LOOK_MS, () => {
    const count = collections.count();
    quiet = count === 0 ? quiet + 1 : 0;
    const wanted = (given ? quiet < QUIET_LOOKS : count >= MANY) && collections.oldBytes() <= SMALL_BYTES;
    if (wanted === given) return;
    given = wanted;
    collections.room(given);
  });
}

export function v8Collections(): Collections & { close(): void } {
  let full = 0;
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      // Node's types leave it out.
      const { detail } = entry as typeof entry & { readonly detail?: { readonly kind?: number } };
      if (detail?.kind === constants.NODE_PERFORMANCE_GC_MAJOR) full += 1;
    }
  });
  observer.observe({ entryTypes: ["gc"] });
  return {
    count: () => {
      const count = full;
      full = 0;
      return count;
    },
    oldBytes: () => getHeapSpaceStatistics().find(({ space_name }) => space_name === "old_space")?.space_used_size ?? 0,
    room: (given) => setFlagsFromString(`--heap-growing-percent=${given ? 300 : 0}`),
    close: () => observer.disconnect(),
  };
}
