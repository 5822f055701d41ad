import { prng } from "../../src/base/prng.ts";
import type { Random } from "../../src/platform/random.ts";

export function seededRandom(seed: number): Random {
  const next = prng(seed);
  return { next, bytes: (length) => Uint8Array.from({ length }, () => Math.floor(next() * 256)) };
}
