/** Bytes and times of a call that hold beside any load. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

const WARM_UP_CALLS = 200;
const BATCH_MS = 1;
/** Of processor time, until optimized code runs. */
const WARM_UP_MS = 150;
/** More than so many times as many rounds is not worth the wait. */
const PATIENCE = 10;

setFlagsFromString("--expose-gc");
const gc = runInNewContext("gc") as () => void;

/**
 * Bytes that a call allocates, kept or not: what the heap grew by, which is only meaningful where no collection ran in
 * between. So it is the median over few calls at a time, of which a collection spoils few.
 */
export async function allocated(call: () => unknown, calls: number): Promise<number> {
  for (let i = 0; i < WARM_UP_CALLS; i++) await call();
  gc();
  const grew: number[] = [];
  const stride = Math.max(1, Math.floor(calls / 40));
  for (let done = 0; done < calls; done += stride) {
    const before = usedBytes();
    // An `await` of something that is no promise allocates too: only what is asynchronous is awaited.
    for (let i = 0; i < stride; i++) {
      const answer = call();
      if (answer instanceof Promise) await answer;
    }
    grew.push((usedBytes() - before) / stride);
  }
  const sorted = grew.sort((a, b) => a - b);
  return Math.max(0, sorted[sorted.length >> 1]!);
}

/** Buffers lie outside the heap. */
function usedBytes(): number {
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/**
 * Milliseconds of a call in the fastest of many batches so short that most are never interrupted: whatever else runs on the
 * machine makes batches slower, never faster.
 */
export function fastest(call: () => void, rounds: number): number {
  const batch = (count: number): number => {
    const begun = performance.now();
    for (let i = 0; i < count; i++) call();
    return performance.now() - begun;
  };
  for (const { user } = process.cpuUsage(); process.cpuUsage().user - user < WARM_UP_MS * 1_000; ) batch(10);
  let count = 1;
  while (batch(count) < BATCH_MS) count *= 2;
  const least = new Least(rounds);
  while (least.mayFall) least.add(batch(count) / count);
  return least.value;
}

export async function fastestAsync(call: () => Promise<unknown>, rounds: number): Promise<number> {
  for (let i = 0; i < WARM_UP_CALLS; i++) await call();
  const least = new Least(rounds);
  while (least.mayFall) {
    const begun = performance.now();
    await call();
    least.add(performance.now() - begun);
  }
  return least.value;
}

/** The least so far, until so many rounds went by without a lower one: code gets optimized late where others want the processor. */
class Least {
  value = Number.POSITIVE_INFINITY;
  readonly #rounds: number;
  #without = 0;
  #total = 0;

  constructor(rounds: number) {
    this.#rounds = rounds;
  }

  get mayFall(): boolean {
    return this.#without < this.#rounds && this.#total < this.#rounds * PATIENCE;
  }

  add(value: number): void {
    this.#total += 1;
    this.#without += 1;
    // A little lower is no news.
    if (value < this.value * 0.98) this.#without = 0;
    this.value = Math.min(this.value, value);
  }
}

const words = Array.from({ length: 1_000 }, (_, i) => `reference/${(i * 7_919) % 1_000}`);
const seen = new Map<string, { readonly at: number; readonly bytes: Uint8Array }>();

/** What hot paths are made of: strings in a map, small objects, copied bytes. Changing it changes every ratio. */
export function reference(): void {
  for (let i = 0; i < 100; i++) {
    const word = words[(i * 31) % words.length]!;
    const old = seen.get(word);
    const bytes = new Uint8Array(64);
    if (old !== undefined) bytes.set(old.bytes);
    bytes[i & 63] = i;
    seen.set(word, { at: (old?.at ?? 0) + 1, bytes });
  }
}
