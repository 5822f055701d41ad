/**
 * Programs speak of revisions as on a store that was never written to: 1 is the revision at which they begin. Where they
 * run on a store that others used before, these are moved on the way in, and back in reports; so the smallest program that
 * shows a difference can be tried by hand on a new store.
 */
import type { Compare, RequestOp } from "../../src/protocol/requests.ts";
import type { WatchRequest } from "../../src/protocol/watch.ts";
import type { Answer, CallRequest, KvAnswer, OpAnswer, ResultAnswer, Step, WatchMessage } from "./answer.ts";

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

export function mapStep(step: Step, map: (revision: number) => number): Step {
  switch (step.kind) {
    case "watch":
      return { ...step, request: mapWatch(step.request, map) };
    case "look": {
      const watchers = step.watchers.map(({ id, from, compacted }) => ({
        id,
        from: map(from),
        compacted: map(compacted),
      }));
      return { ...step, watchers };
    }
    default:
      return mapRequest(step, map);
  }
}

export function mapRequest(request: CallRequest, map: (revision: number) => number): CallRequest {
  switch (request.kind) {
    case "compact":
      return { ...request, revision: map(request.revision) };
    case "leaseGrant":
    case "leaseRevoke":
    case "leaseKeepAlive":
    case "leaseTimeToLive":
    case "leaseList":
      return request;
    default:
      return mapOp(request, map);
  }
}

export function mapWatch(request: WatchRequest, map: (revision: number) => number): WatchRequest {
  if (request.kind !== "create" || request.startRevision === undefined) return request;
  return { ...request, startRevision: map(request.startRevision) };
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
  switch (answer.kind) {
    case "refused":
      return answer;
    case "granted":
      return { ...answer, revision: map(answer.revision), result: mapResult(answer.result, map) };
    case "told":
      return { ...answer, messages: answer.messages.map((message) => mapMessage(message, map)) };
  }
}

function mapMessage(message: WatchMessage, map: (revision: number) => number): WatchMessage {
  return {
    ...message,
    revision: map(message.revision),
    compactRevision: map(message.compactRevision),
    events: message.events.map(({ type, kv, prevKv }) => ({
      type,
      kv: mapKv(kv, map),
      prevKv: prevKv && mapKv(prevKv, map),
    })),
  };
}

function mapResult(result: ResultAnswer, map: (revision: number) => number): ResultAnswer {
  switch (result.kind) {
    case "range":
    case "put":
    case "deleteRange":
    case "txn":
      return mapOpResult(result, map);
    default:
      return result;
  }
}

function mapOpResult(result: OpAnswer, map: (revision: number) => number): OpAnswer {
  switch (result.kind) {
    case "range":
      return { ...result, kvs: result.kvs.map((kv) => mapKv(kv, map)) };
    case "put":
      return { ...result, prevKv: result.prevKv && mapKv(result.prevKv, map) };
    case "deleteRange":
      return { ...result, prevKvs: result.prevKvs.map((kv) => mapKv(kv, map)) };
    case "txn": {
      const results = result.results.map((each) => ({
        revision: map(each.revision),
        result: mapOpResult(each.result, map),
      }));
      return { ...result, results };
    }
  }
}

function mapKv(kv: KvAnswer, map: (revision: number) => number): KvAnswer {
  return { ...kv, createRevision: map(kv.createRevision), modRevision: map(kv.modRevision) };
}
