/** From request to answer: what is checked where, in etcd's order (etcd-semantics section 0.1), and who waits for what. */
import { StoreError } from "../base/errors.ts";
import { type ClusterId, type MemberId, type Revision, revision, type Term } from "../base/ids.ts";
import { Slab } from "../base/slab.ts";
import { checkCompact, checkDeleteRange, checkHashKv, checkPut, checkRange, checkTxn } from "../kv/check.ts";
import { isReadOnlyTxn, isSerializableTxn } from "../kv/txn.ts";
import type { AlarmCommand, ClientRegisterCommand, Command, Envelope, LeaseCommand } from "../machine/command.ts";
import { encodeEnvelope } from "../machine/envelope-codec.ts";
import type { Applied, Machine } from "../machine/machine.ts";
import type { Clock } from "../platform/clock.ts";
import type { CallOptions, OperationId } from "../protocol/channel.ts";
import type { ResponseHeader } from "../protocol/key-value.ts";
import type {
  AlarmRequest,
  CompactRequest,
  DeleteRangeRequest,
  PutRequest,
  RangeRequest,
  Request,
  TxnRequest,
} from "../protocol/requests.ts";
import type { HashKvResult, RangeResult, Response, Result } from "../protocol/responses.ts";
import type { ConfChange } from "../raft/membership-types.ts";
import type { Applier } from "./applier.ts";
import type { Driver } from "./driver.ts";
import { checkedId, type LeaseKeeper } from "./lease-keeper.ts";
import type { MemberAdmin } from "./member-admin.ts";
import type { Proposals } from "./proposals.ts";
import type { Queues } from "./queues.ts";
import type { QuotaKeeper } from "./quota-keeper.ts";
import type { Reads } from "./reads.ts";
import type { SnapshotSessions } from "./snapshot-sessions.ts";

/** etcd refuses new proposals above this many committed and unapplied entries (section 0.1). */
const APPLY_BACKLOG_MAX = 5_000;
/** Index steps in one turn of a read: about a millisecond. */
const READ_STEPS_PER_TURN = 1_000;

export interface RouterOptions {
  readonly memberId: MemberId;
  readonly clusterId: ClusterId;
  readonly incarnation: number;
  readonly clock: Clock;
  readonly driver: Driver;
  readonly applier: Applier;
  readonly proposals: Proposals;
  readonly reads: Reads;
  readonly admin: MemberAdmin;
  readonly leases: LeaseKeeper;
  readonly snapshots: SnapshotSessions;
  readonly quota: QuotaKeeper;
  readonly queues: Queues;
  readonly maxTxnOps: number;
  readonly maxRequestBytes: number;
  readonly maxPendingProposals: number;
  readonly maxPendingBytes: number;
  readonly requestTimeoutMs: number;
  readonly isLearner: () => boolean;
  readonly status: () => Promise<Result>;
  /** Fetches records of the state from this key on, so that reads find them in memory; returns how many. */
  readonly readAhead: (key: Uint8Array) => Promise<number>;
  /** Begins or goes on with dropping what a compaction allows; false if the member stops before all of it is gone. */
  readonly compacted: () => Promise<boolean>;
}

interface Steps<R> {
  step(budget: number): R | undefined;
  close(): void;
}

export class Router {
  readonly #o: RouterOptions;
  /** The log forgets entries in the order in which they came. */
  readonly #slab = new Slab();
  /** The last one given: between two writes all answers bear the same. */
  #header: ResponseHeader | undefined;

  constructor(options: RouterOptions) {
    this.#o = options;
  }

  get #machine(): Machine {
    return this.#o.applier.machine;
  }

  async handle(request: Request, options: CallOptions): Promise<Response> {
    options.signal?.throwIfAborted();
    const deadline = this.#o.clock.now() + Math.min(options.timeoutMs, this.#o.requestTimeoutMs);
    if (this.#o.isLearner() && !servedByLearner(request)) throw new StoreError("NOT_SUPPORTED_FOR_LEARNER");
    switch (request.kind) {
      case "range":
        checkRange(request);
        if (!request.serializable) await this.#linearizable(deadline);
        return this.#answer(
          this.#machine.rangeOne(request) ??
            (await this.#inSlices(this.#machine.startRange(request), deadline, options.signal)),
        );
      case "put":
        this.#o.quota.admit(request);
        checkPut(request);
        return this.#write(request, deadline, options);
      case "deleteRange":
        checkDeleteRange(request);
        return this.#write(request, deadline, options);
      case "txn":
        this.#o.quota.admit(request);
        checkTxn(request, this.#o.maxTxnOps);
        if (!isReadOnlyTxn(request)) return this.#write(request, deadline, options);
        if (!isSerializableTxn(request)) await this.#linearizable(deadline);
        return this.#answer(await this.#inSlices(this.#machine.startTxnRead(request), deadline, options.signal));
      case "compact": {
        checkCompact(request);
        const response = await this.#write(request, deadline, options);
        const dropped = this.#o.compacted();
        if (request.physical && !(await dropped)) throw new StoreError("STOPPED", { outcome: "applied" });
        return response;
      }
      case "leaseGrant":
        this.#o.quota.admit(request);
        return this.#write(this.#o.leases.grantCommand(request), deadline, options);
      case "leaseRevoke":
        return this.#write({ kind: "leaseRevoke", id: checkedId(request.id) }, deadline, options);
      case "leaseKeepAlive": {
        // etcd reads it before the renewal.
        const { revision } = this.#machine;
        return this.#answer(await this.#o.leases.handle(request, deadline), revision);
      }
      case "leaseTimeToLive":
        return this.#answer(await this.#o.leases.handle(request, deadline));
      case "leaseList":
        return this.#answer({ kind: "leaseList", leases: this.#o.leases.list() });
      case "register":
        return this.#write({ kind: "clientRegister" }, deadline, { signal: options.signal });
      case "hashKv":
        checkHashKv(request);
        return this.#answer(await this.#hashKv(request.revision ?? 0, deadline, options.signal));
      case "alarm":
        return this.#alarm(request, deadline, options.signal);
      case "status":
        return this.#answer(await this.#o.status());
      case "snapshot":
        return this.#answer(await this.#o.snapshots.handle(request, options.signal));
      case "memberList":
        if (request.linearizable) await this.#linearizable(deadline);
        return this.#answer({ kind: "members", members: this.#machine.members() }, revision(0));
      case "memberAdd":
      case "memberRemove":
      case "memberUpdate":
      case "memberPromote":
      case "moveLeader": {
        const result = await this.#o.admin.handle(request, deadline);
        return this.#answer(result, revision(0));
      }
      case "lock":
      case "unlock":
      case "campaign":
      case "proclaim":
      case "resign":
      case "leader":
        // Made of the calls above, each of which has its own time; a wait has the caller's.
        return this.#o.queues.handle(request, options);
      default:
        request satisfies never;
        throw new StoreError("INVALID_REQUEST");
    }
  }

  /** Answers what needs no wait: a serializable read of one key, in bytes of its own. `undefined`: ask `handle`. */
  answerNow(request: RangeRequest): Response<RangeResult> | undefined {
    if (request.serializable !== true) return undefined;
    checkRange(request);
    const result = this.#machine.rangeOne(request, true);
    return result === undefined ? undefined : this.#answer(result);
  }

  /** Proposes and waits until this member has applied it. */
  async propose(
    command: Command,
    deadline: number,
    more: {
      readonly change?: ((data: Uint8Array) => ConfChange) | undefined;
      /** Only in this member's own log, as the leader of this term. */
      readonly onlyIn?: Term | undefined;
      readonly operation?: OperationId | undefined;
    } = {},
  ): Promise<Applied> {
    const { operation } = more;
    const { proposals, driver, applier, memberId, incarnation } = this.#o;
    // etcd's order: the backlog before the size.
    if (applier.backlog > APPLY_BACKLOG_MAX) throw new StoreError("TOO_MANY_REQUESTS");
    const ref = proposals.nextRef();
    const envelope: Envelope = {
      proposer: memberId,
      incarnation,
      ref,
      clientId: operation === undefined ? 0 : operation.clientId,
      sequence: operation === undefined ? 0 : operation.sequence,
      lowestUnacknowledged: operation === undefined ? 0 : operation.lowestUnacknowledged,
      command,
    };
    const data = encodeEnvelope(envelope, this.#slab);
    if (data.length > this.#o.maxRequestBytes) throw new StoreError("REQUEST_TOO_LARGE");
    if (proposals.count >= this.#o.maxPendingProposals || proposals.bytes + data.length > this.#o.maxPendingBytes) {
      throw new StoreError("TOO_MANY_REQUESTS");
    }
    const proposal = proposals.add(ref, envelope, data, deadline, {
      change: more.change?.(data),
      onlyIn: more.onlyIn,
    });
    driver.propose(proposal);
    return proposal.settled.promise;
  }

  async #write(
    command:
      | PutRequest
      | DeleteRangeRequest
      | TxnRequest
      | CompactRequest
      | LeaseCommand
      | AlarmCommand
      | ClientRegisterCommand,
    deadline: number,
    { signal, operation }: Pick<CallOptions, "signal" | "operation">,
  ): Promise<Response> {
    if (operation !== undefined) checkOperation(operation);
    const proposing = this.propose(command, deadline, { operation });
    const applied = await (signal === undefined ? proposing : abortable(proposing, signal));
    if (!applied.outcome.ok) throw applied.outcome.error;
    return this.#answer(applied.outcome.result, undefined, applied.term);
  }

  /** Questions need no entry in the log: a linearizable read sees whatever an entry would (etcd-semantics 7.3). */
  async #alarm(request: AlarmRequest, deadline: number, signal: AbortSignal | undefined): Promise<Response> {
    const { action, member, alarm } = request;
    const isKnown = alarm === undefined || alarm === "nospace" || alarm === "corrupt";
    const invalid = (what: string): StoreError =>
      new StoreError("INVALID_REQUEST", { message: `quorate: the request is malformed: ${what}` });
    if (!isKnown) throw invalid("unknown alarm");
    switch (action) {
      case "get": {
        await this.#linearizable(deadline);
        const { list } = this.#machine.alarms;
        return this.#answer({
          kind: "alarm",
          alarms: list.filter((one) => alarm === undefined || one.alarm === alarm),
        });
      }
      case "activate":
      case "deactivate":
        if (alarm === undefined) return this.#answer({ kind: "alarm", alarms: [] });
        if (typeof member !== "bigint" || member <= 0n || BigInt.asUintN(64, member) !== member) {
          throw invalid("an alarm stands for a member");
        }
        // Nothing here could find a member corrupt, nor would anything refuse to work while one is.
        if (action === "activate" && alarm === "corrupt") throw invalid("a corrupt alarm cannot be raised");
        return this.#write({ kind: "alarm", action, member, alarm }, deadline, { signal });
      default:
        action satisfies never;
        throw invalid("unknown action");
    }
  }

  #linearizable(deadline: number): Promise<void> {
    const waiting = this.#o.reads.wait(deadline);
    this.#o.driver.poke();
    return waiting;
  }

  /** A hash reads every record in the order in which the state has them, so they come in bulk. */
  #hashKv(revision: number, deadline: number, signal: AbortSignal | undefined): Promise<HashKvResult> {
    const read = this.#machine.startHashKv(revision);
    return this.#inSlices(read, deadline, signal, async () => {
      const { next } = read;
      // None are found where the rest is not flushed yet, and is in memory anyhow.
      return next === undefined ? READ_STEPS_PER_TURN : (await this.#o.readAhead(next)) || READ_STEPS_PER_TURN;
    });
  }

  /** Nobody waits for it any more: it ends between two slices. `prepare` says how many steps the next one takes. */
  async #inSlices<R>(
    steps: Steps<R>,
    deadline: number,
    signal: AbortSignal | undefined,
    prepare?: () => Promise<number>,
  ): Promise<R> {
    try {
      for (;;) {
        const result = steps.step(prepare === undefined ? READ_STEPS_PER_TURN : await prepare());
        if (result !== undefined) return result;
        if (signal?.aborted === true) throw new StoreError("CANCELLED", { cause: signal.reason });
        if (this.#o.clock.now() >= deadline) throw new StoreError("TIMEOUT");
        await new Promise<void>((resolve) => this.#o.clock.defer(resolve));
      }
    } finally {
      steps.close();
    }
  }

  #answer<R extends Result>(result: R, at?: Revision, raftTerm: Term = this.#machine.applied.term): Response<R> {
    // A range's own revision too: a slow one is stamped as of its beginning, or whoever watches from its stamp on would
    // miss what was written meanwhile.
    const stamp = at ?? ("revision" in result ? result.revision : this.#machine.revision);
    let header = this.#header;
    if (header === undefined || header.revision !== stamp || header.raftTerm !== raftTerm) {
      header = { clusterId: this.#o.clusterId, memberId: this.#o.memberId, revision: stamp, raftTerm };
      this.#header = header;
    }
    return { header, result };
  }
}

/** Callers without types, and whoever speaks the protocol, may give anything. */
function checkOperation({ clientId, sequence, lowestUnacknowledged: lowest }: OperationId): void {
  const isRight =
    Number.isSafeInteger(clientId) &&
    Number.isSafeInteger(sequence) &&
    Number.isSafeInteger(lowest) &&
    clientId > 0 &&
    lowest > 0 &&
    lowest <= sequence;
  if (isRight) return;
  throw new StoreError("INVALID_REQUEST", { message: "quorate: the request is malformed: the operation's id" });
}

function servedByLearner(request: Request): boolean {
  return (
    request.kind === "status" ||
    request.kind === "hashKv" ||
    request.kind === "snapshot" ||
    (request.kind === "range" && request.serializable === true)
  );
}

/** The caller's giving up does not take the command back: its outcome is unknown to it. */
function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(new StoreError("CANCELLED", { outcome: "unknown", cause: signal.reason }));
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
