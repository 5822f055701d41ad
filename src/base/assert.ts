/** Broken invariants. They stop the node: going on with a state that cannot be is how data gets lost (raft-notes J6). */

/** A promise the program made to itself does not hold. `rule` is the invariant's id, so that a failure names its page. */
export class InvariantError extends Error {
  override readonly name = "InvariantError";
  readonly rule: string;

  constructor(rule: string, message: string) {
    super(`${rule}: ${message}`);
    this.rule = rule;
  }
}

/**
 * Stops the node when `ok` is false. `message` is a function, so that a passing check builds no string; inside a hot
 * loop prefer a plain `if` around `fail`.
 */
export function assert(ok: boolean, rule: string, message: () => string): asserts ok {
  if (!ok) throw new InvariantError(rule, message());
}

export function fail(rule: string, message: string): never {
  throw new InvariantError(rule, message);
}

/** Closes a switch over a union: the compiler rejects a forgotten member, and hostile data ends here. */
export function unreachable(value: never): never {
  throw new InvariantError("unreachable", `unexpected value ${String(value)}`);
}
