/**
 * Branded counters (number) and identifiers (bigint), each with the one door that mints it. A counter never reaches
 * 2^53, so a plain number keeps arithmetic cheap; an identifier is an opaque 64-bit value, so a bigint keeps every bit
 * and can never pass for a counter (docs/decisions/0001).
 */
declare const brand: unique symbol;
type Brand<T, B extends string> = T & { readonly [brand]: B };

/** A Raft term. 0 means "before the first election". */
export type Term = Brand<number, "Term">;
/** A position in the Raft log. The first entry has index 1; 0 is the empty log's end. */
export type LogIndex = Brand<number, "LogIndex">;
/** A main revision of the store. An empty store stands at revision 1. */
export type Revision = Brand<number, "Revision">;
/** A cluster member, unsigned 64 bit, never 0. */
export type MemberId = Brand<bigint, "MemberId">;
/** A cluster, unsigned 64 bit, never 0. */
export type ClusterId = Brand<bigint, "ClusterId">;
/** A lease, signed 64 bit as in etcd. 0n stands for "no lease" in a key-value, exactly as on etcd's wire. */
export type LeaseId = Brand<bigint, "LeaseId">;

function counter(n: number): number {
  // Not `assert`: its closure would be the dearest part of a call made once per entry.
  if (!Number.isSafeInteger(n) || n < 0) throw new RangeError(`not a counter: ${n}`);
  return n;
}

export const term = (n: number): Term => counter(n) as Term;
export const logIndex = (n: number): LogIndex => counter(n) as LogIndex;
export const revision = (n: number): Revision => counter(n) as Revision;

const U64_MAX = 0xffff_ffff_ffff_ffffn;

function unsigned(n: number | bigint, what: string): bigint {
  const id = BigInt(n);
  if (id <= 0n || id > U64_MAX) throw new RangeError(`not a ${what}: ${n}`);
  return id;
}

export const memberId = (n: number | bigint): MemberId => unsigned(n, "member id") as MemberId;
export const clusterId = (n: number | bigint): ClusterId => unsigned(n, "cluster id") as ClusterId;

export function leaseId(n: number | bigint): LeaseId {
  const id = BigInt(n);
  if (BigInt.asIntN(64, id) !== id) throw new RangeError(`not a lease id: ${n}`);
  return id as LeaseId;
}

/** The lease of a key that has none. */
export const NO_LEASE: LeaseId = 0n as LeaseId;

/** Orders identifiers as unsigned numbers: the order in which members are listed and hashed. */
export function compareIds(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** As etcdctl prints a member or cluster id: hexadecimal without padding. */
export function formatId(id: bigint): string {
  return BigInt.asUintN(64, id).toString(16);
}

/** The inverse of `formatId`. `undefined` if the text is not 1 to 16 hexadecimal digits. */
export function parseId(text: string): bigint | undefined {
  return /^(0x)?[0-9a-fA-F]{1,16}$/.test(text) ? BigInt(text.startsWith("0x") ? text : `0x${text}`) : undefined;
}
