/** Work that may be long, cut into slices by counts of steps, never by elapsed time (design section 4). */

/** Steps left in this slice: one step is a key visited, a record read or written. A slice may overrun by one page. */
export interface Budget {
  left: number;
}

/** Long work: yields when the budget is used up and goes on where it was once the next slice refilled it. */
export type Slices<T> = Generator<undefined, T, undefined>;

/** Runs one slice. `undefined` = not finished. Nothing that runs in slices may return `undefined` as its result. */
export function runSlice<T>(work: Slices<T>, budget: Budget, steps: number): T | undefined {
  budget.left = Math.max(1, steps);
  const { done, value } = work.next();
  return done === true ? value : undefined;
}

/** Sorted alone by the engine: a slice is never longer than this many comparisons times eight. */
const RUN = 256;

/** Stable merge sort in slices: a million results take longer than a turn of the loop may. `items` is used up. */
export function* sortInSlices<T>(items: T[], compare: (a: T, b: T) => number, budget: Budget): Slices<T[]> {
  if (items.length <= RUN) {
    budget.left -= items.length;
    return items.sort(compare);
  }
  let from: T[] = [];
  for (let at = 0; at < items.length; at += RUN) {
    for (const item of items.slice(at, at + RUN).sort(compare)) from.push(item);
    budget.left -= RUN;
    if (budget.left <= 0) yield;
  }
  let to: T[] = new Array(items.length);
  for (let width = RUN; width < from.length; width *= 2) {
    for (let start = 0; start < from.length; start += 2 * width) {
      const middle = Math.min(start + width, from.length);
      const end = Math.min(start + 2 * width, from.length);
      let left = start;
      let right = middle;
      for (let at = start; at < end; at++) {
        // The left one wins a tie: that is what makes the sort stable.
        const takeLeft = left < middle && (right >= end || compare(from[left]!, from[right]!) <= 0);
        to[at] = takeLeft ? from[left++]! : from[right++]!;
        budget.left -= 1;
        if (budget.left <= 0) yield;
      }
    }
    [from, to] = [to, from];
  }
  return from;
}
