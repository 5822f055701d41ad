/**
 * Programs speak of revisions as on a store that was never written to: 1 is the revision at which they begin. Where they
 * run on a store that others used before, these are moved on the way in, and back in reports; so the smallest program that
 * shows a difference can be tried by hand on a new store.
 */
import type { Compare, RequestOp } from "../../src/protocol/requests.ts";
import type { Answer, KvAnswer, KvRequest, OpAnswer } from "./answer.ts";

/** Stands for the revision of the moment at which the request is sent; `NOW - 1` for the one before. */
export const NOW = 1_000_000;
const NEAR = 1_000;

/** A revision of a program as the store knows it. What is no revision yet (0, below 0, far above) stays. */
export function absolute(revision: number, base: number, current: number): number {
  if (Math.abs(revision - NOW) <= NEAR) return Math.max(base, current + revision - NOW);
  return revision >= 1 && revision < NOW ? revision + base - 1 : revision;
}

export function relative(revision: number, base: number): number {
  return revision >= base ? revision - base + 1 : revision;
}

export function mapRequest(request: KvRequest, map: (revision: number) => number): KvRequest {
  return request.kind === "compact" ? { ...request, revision: map(request.revision) } : mapOp(request, map);
}

function mapOp(op: RequestOp, map: (revision: number) => number): RequestOp {
  switch (op.kind) {
    case "range": {
      const mapped = (revision: number | undefined): number | undefined => revision && map(revision);
      return {
        ...op,
        revision: mapped(op.revision),
        minModRevision: mapped(op.minModRevision),
        maxModRevision: mapped(op.maxModRevision),
        minCreateRevision: mapped(op.minCreateRevision),
        maxCreateRevision: mapped(op.maxCreateRevision),
      };
    }
    case "txn":
      return {
        ...op,
        compare: op.compare.map((compare) => mapCompare(compare, map)),
        success: op.success.map((each) => mapOp(each, map)),
        failure: op.failure.map((each) => mapOp(each, map)),
      };
    default:
      return op;
  }
}

function mapCompare(compare: Compare, map: (revision: number) => number): Compare {
  switch (compare.target) {
    case "create":
      return { ...compare, createRevision: map(compare.createRevision) };
    case "mod":
      return { ...compare, modRevision: map(compare.modRevision) };
    default:
      return compare;
  }
}

export function mapAnswer(answer: Answer, map: (revision: number) => number): Answer {
  if (answer.kind === "refused") return answer;
  const { revision, result } = answer;
  return {
    ...answer,
    revision: map(revision),
    result: result.kind === "compact" ? result : mapResult(result, map),
  };
}

function mapResult(result: OpAnswer, map: (revision: number) => number): OpAnswer {
  const mapKv = (kv: KvAnswer): KvAnswer => ({
    ...kv,
    createRevision: map(kv.createRevision),
    modRevision: map(kv.modRevision),
  });
  switch (result.kind) {
    case "range":
      return { ...result, kvs: result.kvs.map(mapKv) };
    case "put":
      return { ...result, prevKv: result.prevKv && mapKv(result.prevKv) };
    case "deleteRange":
      return { ...result, prevKvs: result.prevKvs.map(mapKv) };
    case "txn": {
      const results = result.results.map((each) => ({
        revision: map(each.revision),
        result: mapResult(each.result, map),
      }));
      return { ...result, results };
    }
  }
}
