/**
 * W5: what was handed out for writing and is not known to be durable yet, in order, and what is. Every write remembers
 * how far the log reaches on disk once it is durable; a cut lowers that for all of them at once. So a completion never
 * vouches for an entry that took the place of the one it wrote (B17), and no term needs to be looked at.
 */
import { fail } from "../base/assert.ts";
import type { MemberId, Term } from "../base/ids.ts";
import type { SnapshotMeta } from "./membership-types.ts";
import type { HardState } from "./ready.ts";

interface Write {
  readonly seq: number;
  readonly term: Term;
  readonly votedFor: MemberId | undefined;
  readonly install: SnapshotMeta | undefined;
  /** End of the log on disk after this write, as far as it is still the current log. */
  last: number;
}

export class Writes {
  #outstanding: Write[] = [];
  #handedSeq = 0;
  #handedTerm: Term;
  #handedVote: MemberId | undefined;
  #durableIndex: number;
  #durableTerm: Term;
  #durableVote: MemberId | undefined;

  constructor(hardState: HardState, lastIndex: number) {
    this.#handedTerm = hardState.term;
    this.#handedVote = hardState.votedFor;
    this.#durableTerm = hardState.term;
    this.#durableVote = hardState.votedFor;
    this.#durableIndex = lastIndex;
  }

  get durableIndex(): number {
    return this.#durableIndex;
  }

  get idle(): boolean {
    return this.#outstanding.length === 0;
  }

  handed(term: Term, votedFor: MemberId | undefined): boolean {
    return this.#handedTerm === term && this.#handedVote === votedFor;
  }

  /** E6: is this vote on disk? */
  voteDurable(term: Term, id: MemberId): boolean {
    return this.#durableTerm === term && this.#durableVote === id;
  }

  /** The log is no longer what it was above `last`: neither on disk nor in any write under way. */
  clip(last: number): void {
    if (this.#durableIndex > last) this.#durableIndex = last;
    for (const write of this.#outstanding) if (write.last > last) write.last = last;
  }

  add(term: Term, votedFor: MemberId | undefined, install: SnapshotMeta | undefined, last: number): number {
    this.#handedSeq += 1;
    this.#handedTerm = term;
    this.#handedVote = votedFor;
    this.#outstanding.push({ seq: this.#handedSeq, term, votedFor, install, last });
    return this.#handedSeq;
  }

  /** W4: everything up to `seq` is durable. The newest snapshot installed by it, if any. */
  persisted(seq: number): SnapshotMeta | undefined {
    if (seq > this.#handedSeq) fail("V13", `batch ${seq} was never handed out, the last is ${this.#handedSeq}`);
    let done = 0;
    let install: SnapshotMeta | undefined;
    for (const write of this.#outstanding) {
      if (write.seq > seq) break;
      done += 1;
      if (write.last > this.#durableIndex) this.#durableIndex = write.last;
      this.#durableTerm = write.term;
      this.#durableVote = write.votedFor;
      if (write.install !== undefined) install = write.install;
    }
    if (done > 0) this.#outstanding.splice(0, done);
    return install;
  }
}
