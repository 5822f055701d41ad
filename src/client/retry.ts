/**
 * What may be sent again. A read always; a write that is numbered (once.ts) under its number; any other write only when it
 * certainly did not happen. The reason must lie with the member that was asked, or with the moment: another member or a
 * later attempt would only repeat any other refusal.
 */
import { type ErrorCode, StoreError } from "../base/errors.ts";
import type { Request } from "../protocol/requests.ts";
import { changesNothing } from "../transport/client-wire.ts";

/**
 * Reasons that pass, or that lie with one member. `TOO_MANY_REQUESTS` is not among them: who sends more than can be
 * served must hear of it, and repeating would add to the load.
 */
const PASSING: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "NO_LEADER",
  "LEADER_CHANGED",
  "TIMEOUT",
  "DEADLINE_EXCEEDED",
]);

/** Reasons to leave a member for another. */
const MEMBER_TROUBLE: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "UNAVAILABLE",
  "STOPPED",
  "CONNECTION_LOST",
  "MEMBER_REMOVED",
  "DISK_FAILED",
  "DISK_FULL",
  "WAL_CORRUPT",
  "STATE_CORRUPT",
]);

/** What only some members can do: it ends with the refusal of the last one, and not while one that may is away. */
const NOT_HERE: ReadonlySet<ErrorCode> = new Set<ErrorCode>(["NOT_LEADER", "NOT_SUPPORTED_FOR_LEARNER"]);

export function isRefusedHere(error: unknown): boolean {
  return StoreError.is(error) && NOT_HERE.has(error.code);
}

/** Whether the next call had better go to another member. One that saw the leader change serves as well as any. */
export function isMemberTrouble(error: unknown): boolean {
  if (!StoreError.is(error) || error.code === "LEADER_CHANGED") return false;
  return MEMBER_TROUBLE.has(error.code) || NOT_HERE.has(error.code) || PASSING.has(error.code);
}

/**
 * Whether the request may be sent again after this error. `refusals` members cannot do it (`isRefusedHere`); there are
 * `members` to turn to, 0 if only the one in this process.
 */
export function mayRetry(request: Request, error: unknown, refusals: number, members: number): boolean {
  if (!StoreError.is(error)) return false;
  if (error.outcome !== "rejected" && !changesNothing(request)) return false;
  return passes(error, refusals, members);
}

function passes(error: StoreError, refusals: number, members: number): boolean {
  if (NOT_HERE.has(error.code)) return refusals < members;
  return PASSING.has(error.code) || (members > 0 && MEMBER_TROUBLE.has(error.code));
}

/**
 * Whether members other than the leader would ask it first. Not so for a txn of serializable reads alone, but who reads in
 * txns writes in the next (concurrency/stm.ts), and shall find there what it read.
 */
export function concernsLeader(request: Request): boolean {
  switch (request.kind) {
    case "range":
      return request.serializable !== true;
    case "memberList":
      return request.linearizable === true;
    case "leaseList":
    case "status":
    case "hashKv":
    case "snapshot":
    case "lock":
    case "unlock":
    case "campaign":
    case "proclaim":
    case "resign":
    case "leader":
      return false;
    default:
      return true;
  }
}

/** Whether a write is worth a number: whatever changes the store. Membership changes are not, nor is a hand-over. */
export function isNumbered(request: Request): boolean {
  switch (request.kind) {
    case "put":
    case "deleteRange":
    case "compact":
    case "leaseGrant":
    case "leaseRevoke":
      return true;
    case "txn":
      return !changesNothing(request);
    default:
      return false;
  }
}

/**
 * What the state machine itself answers, and remembers: the write's end, whichever attempt brought it about. Any other
 * refusal says only that this attempt was not taken.
 */
const SETTLING: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "COMPACTED",
  "FUTURE_REVISION",
  "KEY_NOT_FOUND",
  "LEASE_NOT_FOUND",
  "LEASE_EXISTS",
  "LEASE_TTL_TOO_LARGE",
]);

/** Whether the error is a ledger's answer: it holds for the whole call. */
export function settles(error: StoreError): boolean {
  return error.outcome === "applied" || (error.outcome === "rejected" && SETTLING.has(error.code));
}

/**
 * What to do after an attempt of a numbered write: send it again under its number, or under a new one, or give up. Under a
 * new number only what certainly did not happen under the old one.
 */
export function nextStep(
  error: unknown,
  refusals: number,
  members: number,
  wasUnknown: boolean,
): "again" | "anew" | "end" {
  if (!StoreError.is(error) || settles(error)) return "end";
  if (error.code === "CLIENT_EXPIRED") return wasUnknown ? "end" : "anew";
  return passes(error, refusals, members) ? "again" : "end";
}

/** The end of a numbered write's call: once an attempt was unknown, only the ledger settles it. */
export function endOf(error: unknown, wasUnknown: boolean): unknown {
  if (!wasUnknown || !StoreError.is(error) || error.outcome === "unknown" || settles(error)) return error;
  const { code, message, details, cause } = error;
  return new StoreError(code, { outcome: "unknown", message, details, cause: cause ?? error });
}

const FIRST_PAUSE_MS = 25;
const LONGEST_PAUSE_MS = 500;

/**
 * Pause before the next attempt: none while there is another member that was not asked yet, then one that doubles with
 * each round over all of them. `chance` in [0, 1) keeps many clients from coming back together.
 */
export function pauseMs(attempts: number, members: number, chance: number): number {
  const ring = Math.max(1, members);
  if (attempts % ring !== 0) return 0;
  const doublings = Math.min(attempts / ring - 1, 10);
  return Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** doublings) * (0.5 + chance / 2);
}
