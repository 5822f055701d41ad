/**
 * A write is applied exactly once, however often it was sent: in the whole history of the store an acknowledged operation
 * is there once, at the revision that its caller was told; a rejected one never; an unknown one at most once. Each
 * operation writes a text of its own, so that its effects bear its name.
 */
import { OK, type Verdict, violation } from "./verdict.ts";

/** One operation as its caller saw it. */
export interface OnceOperation {
  readonly id: string;
  /** A transaction that did not find what it compares with is "rejected" too: it must have written nothing. */
  readonly end: "acknowledged" | "rejected" | "unknown";
  /** What the caller was told, if it was. */
  readonly revision?: number | undefined;
  /** The value that it replaced, where it asked for that: "" if there was none. */
  readonly replaced?: string | undefined;
}

/** One event of the history, in the order of revisions. */
export interface OnceEffect {
  readonly revision: number;
  readonly key: string;
  /** Of the operation that wrote it. */
  readonly id: string;
  /** Of a counter: its value. */
  readonly count?: number | undefined;
}

export function checkExactlyOnce(operations: readonly OnceOperation[], effects: readonly OnceEffect[]): Verdict {
  const known = new Set(operations.map(({ id }) => id));
  /** One transaction may write several keys, at one revision. */
  const revisions = new Map<string, Set<number>>();
  const counts = new Map<string, number>();
  const last = new Map<string, string>();
  /** By operation and revision. */
  const replaced = new Map<string, string>();
  let before = 0;
  for (const { revision, key, id, count } of effects) {
    if (revision < before) return violation(`the history goes back from revision ${before} to ${revision}`);
    before = revision;
    if (!known.has(id)) return violation(`"${id}" at revision ${revision} was written by nobody`);
    let at = revisions.get(id);
    if (at === undefined) revisions.set(id, (at = new Set()));
    at.add(revision);
    if (at.size > 1) return violation(`"${id}" was applied ${at.size} times, at revisions ${[...at].join(" and ")}`);
    replaced.set(`${id} ${key}`, last.get(key) ?? "");
    last.set(key, id);
    if (count === undefined) continue;
    const expected = (counts.get(key) ?? 0) + 1;
    if (count !== expected) {
      return violation(`counter ${key} is ${count} at revision ${revision}, after ${expected - 1} increments`);
    }
    counts.set(key, count);
  }
  for (const operation of operations) {
    const { id, end, revision } = operation;
    const at = revisions.get(id);
    if (end === "rejected" && at !== undefined) {
      return violation(`"${id}" was rejected, and is in the history at revision ${[...at].join(", ")}`);
    }
    if (end !== "acknowledged") continue;
    if (at === undefined) return violation(`"${id}" was acknowledged, and is nowhere in the history`);
    if (revision !== undefined && !at.has(revision)) {
      return violation(`"${id}" was acknowledged at revision ${revision}, and is at ${[...at].join(", ")}`);
    }
    const told = operation.replaced;
    if (told === undefined) continue;
    const keys = [...replaced].filter(([name]) => name.startsWith(`${id} `));
    if (!keys.some(([, value]) => value === told)) {
      return violation(`"${id}" was told that it replaced "${told}", not ${keys.map(([, value]) => `"${value}"`)}`);
    }
  }
  return OK;
}
