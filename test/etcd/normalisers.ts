/**
 * What may differ, one named normaliser each: what an older etcd does otherwise (rows of etcd-semantics 0.2; quorate
 * follows 3.6), what docs/etcd-differences.md says, and what names a member or a moment. Each narrows the comparison by
 * that much and no more.
 *
 * The other rows of 0.2 do not show here: they are about users, the lack of a leader, the size of a log before a snapshot,
 * the command line, `/health`, and a call that 3.4 does not have.
 */
import { isDeepStrictEqual } from "node:util";
import { FAILURES } from "../../src/base/errors.ts";
import type { RequestOp, TxnRequest } from "../../src/protocol/requests.ts";
import type { Answer, EventAnswer, OpAnswer, Refusal, Step, Watcher, WatchMessage } from "./answer.ts";

/** Row "Gateway error JSON": 3.4's has a third field, the text once more; the code and the text are the same. */
export const gatewayError: { readonly name: string; read(json: unknown): Refusal | undefined } = {
  name: "gateway error JSON",
  read(json) {
    if (typeof json !== "object" || json === null || !("code" in json) || !("message" in json)) return undefined;
    const { code, message, ...more } = json;
    if (typeof code !== "number" || typeof message !== "string") return undefined;
    const others = Object.entries(more).filter(
      ([name, value]) => name !== "details" && !(name === "error" && value === message),
    );
    if (others.length > 0) throw new Error(`fields of an error that are not compared: ${JSON.stringify(json)}`);
    return { kind: "refused", code, message };
  },
};

/** How many revisions an answer holds, and what the store's was when it left, are moments. No revision may be in two. */
export const batching: { readonly name: string; merge(told: readonly WatchMessage[]): WatchMessage[] } = {
  name: "events of several revisions in one answer",
  merge(told) {
    const merged: WatchMessage[] = [];
    for (const message of told) {
      const last = merged.at(-1);
      if (message.events.length === 0) {
        merged.push(message);
        continue;
      }
      const revisions = message.events.map(({ kv }) => kv.modRevision);
      if (Math.max(...revisions) > message.revision) throw new Error(`stamped too low: ${JSON.stringify(message)}`);
      if (last === undefined || last.events.length === 0) {
        merged.push({ ...message, revision: 0 });
        continue;
      }
      if (last.events.at(-1)!.kv.modRevision === revisions[0]) {
        throw new Error(`one revision in two answers: ${JSON.stringify(message)}`);
      }
      merged[merged.length - 1] = { ...last, events: [...last.events, ...message.events] };
    }
    return merged;
  },
};

/** No program attaches keys to these, so it does not matter when they end: of leases of the shortest time. */
export const SHORT_LEASES: readonly bigint[] = [101n, 102n];
/** Both count from when they granted or renewed it, and neither waits for the other. */
const TTL_APART_MAX = 5;

export interface Normaliser {
  readonly name: string;
  /** Whether etcd of this version (such as "3.4.23") does it. */
  shows(version: string): boolean;
  /** etcd's answer as a newer one would have put it, or the other member: quorate's, where that is all that differs. */
  normalise(step: Step, etcd: Answer, quorate: Answer): Answer;
}

const always = (): boolean => true;

export const NORMALISERS: readonly Normaliser[] = [
  {
    name: "order of a transaction's checks",
    shows: (version) => isBefore(version, 3, 6),
    /**
     * Before 3.6 the puts of the branches taken are checked first, each for its key before its lease, and the ranges
     * after all of them. So two answers can differ in one of two ways, and only where the transaction holds both culprits.
     */
    normalise(request, etcd, quorate) {
      if (request.kind !== "txn" || etcd.kind !== "refused" || quorate.kind !== "refused") return etcd;
      const ops = [...operations(request)];
      const putFirst = isPutRefusal(etcd) && isRangeRefusal(quorate) && ops.some(hasPutCheck) && ops.some(hasRevision);
      const keyFirst = is(etcd, "KEY_NOT_FOUND") && is(quorate, "LEASE_NOT_FOUND") && ops.some(hasBothPutChecks);
      return putFirst || keyFirst ? quorate : etcd;
    },
  },
  {
    name: "lease of keys only",
    shows: (version) => isBefore(version, 3, 7),
    /** Row "`keys_only` Range". Where values were sorted by, they were read, and the lease stays. */
    normalise(request, etcd) {
      if (etcd.kind !== "granted" || (request.kind !== "range" && request.kind !== "txn")) return etcd;
      if (etcd.result.kind !== "range" && etcd.result.kind !== "txn") return etcd;
      return { ...etcd, result: withoutLeases(request, etcd.result) };
    },
  },
  {
    name: "watch from below zero",
    shows: (version) => isBefore(version, 3, 5),
    /** Row "Watch `start_revision<0`". */
    normalise(step, etcd, quorate) {
      if (step.kind !== "watch" || step.request.kind !== "create" || (step.request.startRevision ?? 0) >= 0)
        return etcd;
      if (etcd.kind !== "told" || quorate.kind !== "told") return etcd;
      const [created, canceled] = etcd.messages;
      const isOld =
        etcd.messages.length === 2 &&
        isPlain(created!, { created: true, watchId: created!.watchId, revision: created!.revision }) &&
        isPlain(canceled!, { canceled: true, watchId: created!.watchId, compactRevision: canceled!.compactRevision }) &&
        canceled!.compactRevision !== 0;
      const [refused] = quorate.messages;
      if (!isOld || refused?.revision !== created!.revision) return etcd;
      const message = { ...created!, watchId: -1, canceled: true, cancelReason: FAILURES.COMPACTED.message };
      return { kind: "told", messages: [message] };
    },
  },
  {
    name: "progress out of step",
    shows: (version) => isBefore(version, 3, 5),
    /** Row "Progress request with no watcher, or watcher in the future". */
    normalise(step, etcd, quorate) {
      if (step.kind !== "watch" || step.request.kind !== "progress" || step.inStep) return etcd;
      if (etcd.kind !== "told" || quorate.kind !== "told" || quorate.messages.length > 0) return etcd;
      const [message] = etcd.messages;
      if (etcd.messages.length !== 1 || message!.revision === 0) return etcd;
      return isPlain(message!, { watchId: -1, revision: message!.revision }) ? quorate : etcd;
    },
  },
  {
    name: "change replaced within the compaction revision",
    shows: always,
    /**
     * A transaction that changes a key twice, compacted at exactly its revision: etcd drops the first change, in its own
     * time, so a watcher that begins there may or may not be told. A filter hides what took its place.
     */
    normalise(step, etcd, quorate) {
      return withDropped(step, etcd, quorate, ({ kv }, later, { filtered }) => {
        return filtered === true || later.some((event) => event.kv.key === kv.key);
      });
    },
  },
  {
    name: "tombstone at the compaction revision",
    shows: (version) => isBefore(version, 3, 4, 34) || (version.startsWith("3.5.") && isBefore(version, 3, 5, 16)),
    /** Row of that name: it is dropped in the same way. */
    normalise(step, etcd, quorate) {
      return withDropped(step, etcd, quorate, ({ type }) => type === "delete");
    },
  },
  {
    name: "what a lease has left",
    shows: always,
    normalise(_step, etcd, quorate) {
      if (etcd.kind !== "granted" || etcd.result.kind !== "leaseTimeToLive") return etcd;
      if (quorate.kind !== "granted" || quorate.result.kind !== "leaseTimeToLive") return etcd;
      const [ours, theirs] = [quorate.result, etcd.result];
      const isAlive = ({ ttl, grantedTtl }: typeof ours): boolean => ttl >= 0 && ttl <= grantedTtl;
      if (!isAlive(ours) || !isAlive(theirs) || Math.abs(ours.ttl - theirs.ttl) > TTL_APART_MAX) return etcd;
      return { ...etcd, result: { ...theirs, ttl: ours.ttl } };
    },
  },
  {
    name: "order of a lease's keys",
    shows: always,
    /** etcd's is none. */
    normalise(_step, etcd) {
      if (etcd.kind !== "granted" || etcd.result.kind !== "leaseTimeToLive") return etcd;
      return { ...etcd, result: { ...etcd.result, keys: [...etcd.result.keys].sort() } };
    },
  },
  {
    name: "order of leases",
    shows: always,
    /** etcd's is by deadline on the leader, else none. */
    normalise(_step, etcd) {
      if (etcd.kind !== "granted" || etcd.result.kind !== "leaseList") return etcd;
      const leases = [...etcd.result.leases].sort((a, b) => (BigInt(a) < BigInt(b) ? -1 : 1));
      return { ...etcd, result: { kind: "leaseList", leases } };
    },
  },
  {
    name: "an id that the server chose",
    shows: always,
    normalise(request, etcd, quorate) {
      if (request.kind !== "leaseGrant" || (request.id ?? 0n) !== 0n) return etcd;
      if (etcd.kind !== "granted" || etcd.result.kind !== "leaseGrant") return etcd;
      if (quorate.kind !== "granted" || quorate.result.kind !== "leaseGrant") return etcd;
      const isChosen = [etcd, quorate].every(({ result }) => "id" in result && BigInt(result.id) > 0n);
      return isChosen ? { ...etcd, result: { ...etcd.result, id: quorate.result.id } } : etcd;
    },
  },
  {
    name: "a short lease that ended by itself",
    shows: always,
    /** On a machine that stands still for seconds one of them may revoke it before the program does. */
    normalise(request, etcd, quorate) {
      if (request.kind !== "leaseRevoke" || !SHORT_LEASES.includes(request.id)) return etcd;
      const isGone = (answer: Answer): boolean => answer.kind === "refused" && is(answer, "LEASE_NOT_FOUND");
      return isGone(etcd) || isGone(quorate) ? quorate : etcd;
    },
  },
];

/** Says nothing but this. */
function isPlain(message: WatchMessage, said: Partial<WatchMessage>): boolean {
  const nothing = { revision: 0, watchId: 0, created: false, canceled: false, compactRevision: 0, fragment: false };
  const expected = { ...nothing, cancelReason: "", ...said };
  return (
    message.events.length === 0 &&
    (Object.keys(expected) as (keyof typeof expected)[]).every((name) => message[name] === expected[name])
  );
}

function withoutLeases<R extends OpAnswer>(op: RequestOp, answer: R): R {
  if (op.kind === "range" && answer.kind === "range") {
    if (op.keysOnly !== true || op.sortTarget === "value") return answer;
    return { ...answer, kvs: answer.kvs.map((kv) => ({ ...kv, lease: "0" })) };
  }
  if (op.kind === "txn" && answer.kind === "txn") {
    const ops = answer.succeeded ? op.success : op.failure;
    const results = answer.results.map(({ revision, result }, i) => ({
      revision,
      result: withoutLeases(ops[i]!, result),
    }));
    return { ...answer, results };
  }
  return answer;
}

/**
 * etcd's, and of the events at the compact revision those that it may have dropped and quorate still tells. `later` are
 * those of the same revision behind the event.
 */
function withDropped(
  step: Step,
  etcd: Answer,
  quorate: Answer,
  mayDrop: (event: EventAnswer, later: readonly EventAnswer[], watcher: Watcher) => boolean,
): Answer {
  if (step.kind !== "look" || etcd.kind !== "told" || quorate.kind !== "told") return etcd;
  const begin = new Set(step.watchers.filter(({ from, compacted }) => from === compacted).map(({ id }) => id));
  const messages = etcd.messages.map((theirs) => {
    const ours = quorate.messages.find(({ watchId }) => watchId === theirs.watchId);
    const watcher = step.watchers.find(({ id }) => id === theirs.watchId);
    if (!begin.has(theirs.watchId) || ours === undefined || watcher === undefined) return theirs;
    const there = ours.events.filter(({ kv }) => kv.modRevision === watcher.compacted);
    const rest = [...theirs.events];
    const events: EventAnswer[] = [];
    // In quorate's order, so that whatever else differs still does.
    for (const event of ours.events) {
      if (isDeepStrictEqual(rest[0], event)) events.push(rest.shift()!);
      else if (there.includes(event) && mayDrop(event, there.slice(there.indexOf(event) + 1), watcher))
        events.push(event);
    }
    return { ...theirs, events: [...events, ...rest] };
  });
  return { kind: "told", messages };
}

function isBefore(version: string, ...other: readonly number[]): boolean {
  const parts = version.split(".").map(Number);
  const i = other.findIndex((part, at) => (parts[at] ?? 0) !== part);
  return i >= 0 && (parts[i] ?? 0) < other[i]!;
}

function is({ message }: Refusal, code: keyof typeof FAILURES): boolean {
  return message === FAILURES[code].message;
}

const isPutRefusal = (refusal: Refusal): boolean => is(refusal, "KEY_NOT_FOUND") || is(refusal, "LEASE_NOT_FOUND");
const isRangeRefusal = (refusal: Refusal): boolean => is(refusal, "COMPACTED") || is(refusal, "FUTURE_REVISION");

const hasLease = (op: RequestOp): boolean => op.kind === "put" && (op.lease ?? 0n) !== 0n;
const needsKey = (op: RequestOp): boolean => op.kind === "put" && (op.ignoreValue === true || op.ignoreLease === true);
const hasPutCheck = (op: RequestOp): boolean => hasLease(op) || needsKey(op);
const hasBothPutChecks = (op: RequestOp): boolean => hasLease(op) && needsKey(op);
const hasRevision = (op: RequestOp): boolean => op.kind === "range" && (op.revision ?? 0) !== 0;

/** Of both branches, and of the transactions within. */
export function* operations(txn: TxnRequest): Generator<RequestOp> {
  for (const op of [...txn.success, ...txn.failure]) {
    yield op;
    if (op.kind === "txn") yield* operations(op);
  }
}
