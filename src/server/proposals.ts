/** Who waits for which command. One promise per call, none per entry; every wait ends by its deadline. */
import { type Deferred, deferred } from "../base/deferred.ts";
import { type ErrorCode, StoreError } from "../base/errors.ts";
import type { LogIndex, Term } from "../base/ids.ts";
import { NumberMap } from "../base/number-map.ts";
import type { Envelope } from "../machine/command.ts";
import type { Applied } from "../machine/machine.ts";
import type { EntryId } from "../raft/entry.ts";
import type { ConfChange } from "../raft/membership-types.ts";
import type { DropReason } from "../raft/message.ts";
import { firstRef } from "./refs.ts";

export interface Proposal {
  readonly ref: number;
  readonly envelope: Envelope;
  readonly data: Uint8Array;
  /** Set for a membership change: the envelope then travels as its context. */
  readonly change: ConfChange | undefined;
  readonly deadline: number;
  /** Set for what this member proposes as the leader of that term, and not otherwise: it is never forwarded. */
  readonly onlyIn: Term | undefined;
  readonly settled: Deferred<Applied>;
  /** False while nobody but this member has seen it: then giving up is certain to change nothing. */
  handedOver: boolean;
  /** Where it stands in this member's own log, once it leads. */
  placed: EntryId | undefined;
  /** The term in which it was handed to another member's log. */
  forwardedIn: Term | undefined;
}

export class Proposals {
  readonly #byRef = new NumberMap<Proposal>();
  readonly #byIndex = new NumberMap<Proposal>();
  /** Refused for a passing reason (no leader yet): offered again when that may have changed. */
  #parked: Proposal[] = [];
  #bytes = 0;
  #nextRef: number;
  failed = 0;

  constructor(incarnation: number) {
    this.#nextRef = firstRef(incarnation);
  }

  get count(): number {
    return this.#byRef.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  nextRef(): number {
    return this.#nextRef++;
  }

  add(
    ref: number,
    envelope: Envelope,
    data: Uint8Array,
    deadline: number,
    more: { readonly change?: ConfChange | undefined; readonly onlyIn?: Term | undefined } = {},
  ): Proposal {
    const proposal: Proposal = {
      ref,
      envelope,
      data,
      change: more.change,
      deadline,
      onlyIn: more.onlyIn,
      settled: deferred<Applied>(),
      handedOver: false,
      placed: undefined,
      forwardedIn: undefined,
    };
    this.#byRef.set(ref, proposal);
    this.#bytes += data.length;
    return proposal;
  }

  placed(ref: number, id: EntryId): void {
    const proposal = this.#byRef.get(ref);
    if (proposal === undefined) return;
    proposal.placed = id;
    this.#byIndex.set(id.index, proposal);
  }

  /** The decoded form of an entry that this member proposed itself, so that it need not be decoded again. */
  decoded(index: LogIndex, term: Term): Envelope | undefined {
    const proposal = this.#byIndex.get(index);
    return proposal?.placed?.term === term ? proposal.envelope : undefined;
  }

  /** Somebody waits for this command of this member's: it may stand in any log. */
  waits(ref: number): boolean {
    return this.#byRef.has(ref);
  }

  /** U3: certainly not executed. A passing reason parks it, so that a caller does not see an election. */
  dropped(ref: number, reason: DropReason): void {
    const proposal = this.#byRef.get(ref);
    if (proposal === undefined) return;
    proposal.handedOver = false;
    proposal.forwardedIn = undefined;
    switch (reason) {
      case "noLeader":
      case "transferring":
      case "confChangePending":
        this.#parked.push(proposal);
        return;
      case "busy":
        this.#reject(proposal, new StoreError("TOO_MANY_REQUESTS"));
        return;
      case "notMember":
        this.#reject(proposal, new StoreError("MEMBER_REMOVED"));
        return;
      case "invalid":
        this.#reject(proposal, new StoreError("UNHEALTHY"));
    }
  }

  takeParked(): Proposal[] {
    if (this.#parked.length === 0) return [];
    const parked = this.#parked.filter((proposal) => this.#byRef.has(proposal.ref));
    this.#parked = [];
    return parked;
  }

  get parkedCount(): number {
    return this.#parked.length;
  }

  applied(applied: Applied, mine: boolean): void {
    const placed = this.#byIndex.get(applied.index);
    if (placed !== undefined) {
      this.#byIndex.delete(applied.index);
      // U4: another term's entry was committed at its place, so this one never will be.
      if (placed.placed?.term !== applied.term && this.#byRef.has(placed.ref)) {
        this.#reject(placed, new StoreError("LEADER_CHANGED", { outcome: "rejected" }));
      }
    }
    if (!mine || applied.envelope === undefined) return;
    const proposal = this.#byRef.get(applied.envelope.ref);
    if (proposal === undefined) return;
    this.#forget(proposal);
    proposal.settled.resolve(applied);
  }

  /**
   * An entry of a newer term was applied: whatever an older leader committed lies before it. What this member placed in
   * an older term and has not met by now is gone for good: terms never fall along the log. A call that was forwarded in
   * an older term is not known to happen any more, but might, if the message lingers somewhere. Either is told at once
   * instead of at the deadline, which what a leader proposes for itself does not even have.
   */
  newTermApplied(term: Term): void {
    for (const proposal of this.#all()) {
      const { placed, forwardedIn } = proposal;
      if (placed !== undefined && placed.term < term) {
        this.#reject(proposal, new StoreError("LEADER_CHANGED", { outcome: "rejected" }));
      } else if (placed === undefined && forwardedIn !== undefined && forwardedIn < term) {
        this.#reject(proposal, new StoreError("LEADER_CHANGED", { outcome: "unknown" }));
      }
    }
    for (const at of this.#byIndex.keys()) if (this.#byIndex.get(at)!.placed!.term < term) this.#byIndex.delete(at);
  }

  /**
   * The log up to `index`, an entry of `term`, was replaced by a snapshot: what was placed there, or forwarded to
   * whoever led, may or may not be in it, and would never be met.
   */
  replaced(index: LogIndex, term: Term): void {
    for (const proposal of this.#all()) {
      const { placed, forwardedIn } = proposal;
      if (placed === undefined ? forwardedIn === undefined : placed.index > index) continue;
      this.#reject(proposal, new StoreError("LEADER_CHANGED", { outcome: "unknown" }));
    }
    for (const at of this.#byIndex.keys()) if (at <= index) this.#byIndex.delete(at);
    this.newTermApplied(term);
  }

  /** It was proposed for a term that this member does not lead (any more), so it is not handed over. */
  outOfTerm(proposal: Proposal): void {
    if (this.#byRef.has(proposal.ref)) this.#reject(proposal, new StoreError("NOT_LEADER"));
  }

  expire(now: number): void {
    for (const proposal of this.#all()) {
      if (proposal.deadline > now) continue;
      this.#reject(
        proposal,
        proposal.handedOver
          ? new StoreError("TIMEOUT", { outcome: "unknown" })
          : new StoreError("DEADLINE_EXCEEDED", { outcome: "rejected" }),
      );
    }
    // There may be no leader for long: what nobody waits for any more must not gather meanwhile.
    if (this.#parked.length > 0) this.#parked = this.#parked.filter(({ ref }) => this.#byRef.has(ref));
  }

  endAll(code: ErrorCode, cause: unknown): void {
    for (const proposal of this.#all()) {
      this.#reject(proposal, new StoreError(code, { outcome: proposal.handedOver ? "unknown" : "rejected", cause }));
    }
    this.#parked = [];
    this.#byIndex.clear();
  }

  /** In the order in which they were made. */
  #all(): Proposal[] {
    return this.#byRef.values().sort((a, b) => a.ref - b.ref);
  }

  #reject(proposal: Proposal, error: StoreError): void {
    this.#forget(proposal);
    this.failed += 1;
    proposal.settled.reject(error);
  }

  #forget(proposal: Proposal): void {
    this.#byRef.delete(proposal.ref);
    this.#bytes -= proposal.data.length;
  }
}
