/** When a cost counts as clearly more. */

export interface Cost {
  /** Allocated for each call. */
  readonly bytes: number;
  /** Time of a call, as a multiple of the reference's. */
  readonly ratio: number;
}
export type Costs = Record<string, Cost>;
export type Limits = Readonly<Costs>;

/** Allocations hardly vary, but from one version of Node to the next. */
const BYTES_FACTOR = 1.3;
const BYTES_SLACK = 64;
/** The reference and a path do not slow down alike on every machine. */
const RATIO_FACTOR = 2.5;

/** One line for each path that costs more than it may, or of which nothing is known. */
export function exceeded(costs: Readonly<Costs>, limits: Limits): string[] {
  return Object.entries(costs).flatMap(([name, { bytes, ratio }]) => {
    const limit = limits[name];
    if (limit === undefined) return [`${name}: has no limit yet (npm run bench:guard -- --record)`];
    const lines: string[] = [];
    if (bytes > limit.bytes * BYTES_FACTOR + BYTES_SLACK) {
      lines.push(`${name}: allocates ${Math.round(bytes)} bytes a call, and did ${limit.bytes}`);
    }
    if (ratio > limit.ratio * RATIO_FACTOR) {
      lines.push(`${name}: takes ${ratio.toPrecision(3)} times the reference, and took ${limit.ratio}`);
    }
    return lines;
  });
}

/** Of two attempts: what else runs only adds. */
export function least(some: Readonly<Costs>, others: Readonly<Costs>): Costs {
  return Object.fromEntries(
    Object.entries(some).map(([name, { bytes, ratio }]) => {
      const other = others[name]!;
      return [name, { bytes: Math.min(bytes, other.bytes), ratio: Math.min(ratio, other.ratio) }];
    }),
  );
}
