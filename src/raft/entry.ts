/** One place in the replicated log. */
import type { LogIndex, Term } from "../base/ids.ts";

export interface EntryId {
  readonly term: Term;
  readonly index: LogIndex;
}

/** "normal" carries a command, "confChange" an encoded `ConfChange`; an empty normal entry opens a leader's term. */
export type EntryKind = "normal" | "confChange";

/** Never changed once appended: log, messages and batches share it by reference. */
export interface Entry extends EntryId {
  readonly kind: EntryKind;
  readonly data: Uint8Array;
}

/** Orders logs by their last entry: the last term decides, then the length (Raft paper section 5.4.1). */
export function compareEntryIds(a: EntryId, b: EntryId): number {
  return a.term !== b.term ? a.term - b.term : a.index - b.index;
}
