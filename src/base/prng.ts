/** Seeded chance for tests, simulation and jitter: small, fast, reproducible on every platform. Never for secrets. */

/** A number in [0, 1), 32 random bits. */
export type RandomSource = () => number;

/** sfc32, seeded from one integer through splitmix32. The same seed gives the same sequence for ever. */
export function prng(seed: number): RandomSource {
  let state = seed >>> 0;
  const mix = (): number => {
    state = (state + 0x9e3779b9) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
    return (z ^ (z >>> 16)) >>> 0;
  };
  let a = mix();
  let b = mix();
  let c = mix();
  let count = 1;
  const next: RandomSource = () => {
    const t = (((a + b) >>> 0) + count) >>> 0;
    count = (count + 1) >>> 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) >>> 0;
    c = ((c << 21) | (c >>> 11)) >>> 0;
    c = (c + t) >>> 0;
    return t / 0x1_0000_0000;
  };
  for (let i = 0; i < 12; i++) next();
  return next;
}

/** An integer in [low, high], both inclusive. */
export function randomInt(random: RandomSource, low: number, high: number): number {
  return low + Math.floor(random() * (high - low + 1));
}
