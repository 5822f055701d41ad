/** How often a script does harm, and what it must therefore have done in a given time for a green run to mean anything. */
import { setTimeout as delay } from "node:timers/promises";
import { type RandomSource, randomInt } from "../src/base/prng.ts";

/** Milliseconds, each drawn anew between the two. */
export type Span = readonly [least: number, most: number];

export interface Pace {
  readonly first: Span;
  /** From the end of one fault to the next. */
  readonly pause: Span;
  /** What one takes: a process is stopped for as long. */
  readonly lasts: Span;
}

/** One that could not be done, because there was no leader or no such process just then, is tried again so soon. */
const AGAIN_MS = 200;

export function draw(random: RandomSource, [least, most]: Span): number {
  return randomInt(random, least, most);
}

/** How many there are in `ms`, if every draw is the longest. */
export function leastFaults({ first, pause, lasts }: Pace, ms: number): number {
  return ms < first[1] ? 0 : 1 + Math.floor((ms - first[1]) / (pause[1] + lasts[1]));
}

/** Fault after fault until `isOver`. `fault` tells whether it was done, and takes the time that it was told. */
export async function keepPace(
  { first, pause, lasts }: Pace,
  random: RandomSource,
  isOver: () => boolean,
  fault: (lastsMs: number) => Promise<boolean>,
): Promise<void> {
  for (let wait = draw(random, first); ; ) {
    await delay(wait);
    if (isOver()) return;
    wait = (await fault(draw(random, lasts))) ? draw(random, pause) : AGAIN_MS;
  }
}
