/** Messages and takes as one line of text each, for golden exchanges. */
import type { MemberId } from "../../src/base/ids.ts";
import type { Message } from "../../src/raft/message.ts";
import type { PersistBatch, Ready } from "../../src/raft/ready.ts";

const decoder = new TextDecoder("latin1");

export function printMessage(message: Message): string {
  switch (message.kind) {
    case "requestVote":
    case "requestPreVote": {
      const { kind, term, lastIndex, lastTerm, transfer, commit, commitTerm } = message;
      return `${kind} t${term} last ${lastIndex}@${lastTerm} commit ${commit}@${commitTerm}${transfer ? " transfer" : ""}`;
    }
    case "voteResponse":
    case "preVoteResponse": {
      const { kind, term, granted, commit, commitTerm } = message;
      return `${kind} t${term} ${granted ? "granted" : "refused"} commit ${commit}@${commitTerm}`;
    }
    case "append": {
      const { term, prevIndex, prevTerm, entries, commit, session } = message;
      const list = entries.map((e) => `${e.index}@${e.term}${e.kind === "confChange" ? " conf" : text(e.data)}`);
      return `append t${term} prev ${prevIndex}@${prevTerm} [${list.join(", ")}] commit ${commit} session ${session}`;
    }
    case "appendResponse": {
      const { term, index, rejected, hintIndex, hintTerm, session } = message;
      const what = rejected ? `refused ${index} hint ${hintIndex}@${hintTerm}` : `ok ${index}`;
      return `appendResponse t${term} ${what} session ${session}`;
    }
    case "heartbeat":
      return `heartbeat t${message.term} commit ${message.commit} position ${message.readPosition}`;
    case "heartbeatResponse":
      return `heartbeatResponse t${message.term} position ${message.readPosition}`;
    case "installSnapshot":
      return `installSnapshot t${message.term} ${message.index}@${message.snapshotTerm} voters [${message.conf.voters}] session ${message.session}`;
    case "timeoutNow":
      return `timeoutNow t${message.term} last ${message.lastIndex}@${message.lastTerm}`;
    case "forwardPropose":
      return `forwardPropose ${message.proposals.map(({ ref, kind }) => `#${ref} ${kind}`).join(", ")}`;
    case "proposeRefused":
      return `proposeRefused ${message.refs.map((ref) => `#${ref}`).join(", ")} ${message.reason}`;
    case "forwardRead":
      return `forwardRead #${message.ref}`;
    case "readResponse":
      return `readResponse #${message.ref} ${message.index ?? "refused"}`;
  }
}

function text(data: Uint8Array): string {
  return data.length === 0 ? "" : ` "${decoder.decode(data)}"`;
}

export function printReady(id: MemberId, ready: Ready, say: (line: string) => void): void {
  if (ready.soft !== undefined) {
    say(`${id} is ${ready.soft.role} t${ready.soft.term} leader ${ready.soft.leader ?? "none"}`);
  }
  for (const { ref, id: at } of ready.placed) say(`${id} placed #${ref} at ${at.index}@${at.term}`);
  for (const { ref, reason } of ready.dropped) say(`${id} dropped #${ref} ${reason}`);
  for (const { ref, index } of ready.reads) say(`${id} reads #${ref} at ${index}`);
  for (const { ref, reason } of ready.readsDropped) say(`${id} dropped read #${ref} ${reason}`);
  if (ready.committed.length > 0)
    say(`${id} commits [${ready.committed.map((e) => `${e.index}@${e.term}`).join(", ")}]`);
  for (const { to, session } of ready.sendSnapshots) say(`${id} streams a snapshot to ${to} session ${session}`);
  for (const { to, session } of ready.abortSnapshots) say(`${id} aborts the snapshot to ${to} session ${session}`);
}

export function printBatch(id: MemberId, batch: PersistBatch): string {
  const { term, votedFor, commit } = batch.hardState;
  const cut = batch.cutFrom === undefined ? "" : ` cut ${batch.cutFrom}`;
  const install = batch.install === undefined ? "" : ` install ${batch.install.index}@${batch.install.term}`;
  const entries = batch.entries.map((e) => `${e.index}@${e.term}`).join(", ");
  return `${id} writes t${term} vote ${votedFor ?? "none"} commit ${commit}${cut}${install} [${entries}]`;
}
