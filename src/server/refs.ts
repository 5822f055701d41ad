/**
 * Numbers of what one member asks of others. An answer finds its asker by member and number alone, and may arrive when
 * that member's next run is there: so no two runs use the same ones.
 */
const RUNS = 2 ** 20;
const OF_ONE_RUN = 2 ** 32;

/** The first number of a run: 2^32 are its own. */
export function firstRef(incarnation: number): number {
  return (incarnation % RUNS) * OF_ONE_RUN + 1;
}
