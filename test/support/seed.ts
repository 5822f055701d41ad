/** The seed of property tests: `QUORATE_SEED`, or a fixed one, so that a failure can be run again. */
export function testSeed(): number {
  const given = process.env.QUORATE_SEED;
  if (given === undefined || given === "") return 20_231;
  const seed = Number(given);
  if (!Number.isSafeInteger(seed)) throw new Error(`QUORATE_SEED is not an integer: ${given}`);
  // fast-check takes 32 bits.
  return seed | 0;
}
