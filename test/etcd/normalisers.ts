/**
 * What an older etcd does otherwise, one named normaliser each: rows of etcd-semantics 0.2 (quorate follows 3.6), and rows
 * of docs/etcd-differences.md that name a version. Each narrows the comparison by that much and no more.
 */
import { FAILURES } from "../../src/base/errors.ts";
import type { RequestOp, TxnRequest } from "../../src/protocol/requests.ts";
import type { Answer, KvRequest, Refusal } from "./answer.ts";

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

export interface Normaliser {
  readonly name: string;
  /** Whether etcd of this version (such as "3.4.23") does it. */
  shows(version: string): boolean;
  /** etcd's answer as a newer one would have put it: quorate's, where the difference is exactly this one. */
  normalise(request: KvRequest, etcd: Answer, quorate: Answer): Answer;
}

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
];

function isBefore(version: string, major: number, minor: number): boolean {
  const [theirMajor = 0, theirMinor = 0] = version.split(".").map(Number);
  return theirMajor < major || (theirMajor === major && theirMinor < minor);
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
