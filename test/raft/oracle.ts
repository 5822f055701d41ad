/** Sees every node's memory and disk at once, and holds them to O1-O9 and O13. Throws at the first lie. */
import { logIndex, type MemberId } from "../../src/base/ids.ts";
import type { Entry } from "../../src/raft/entry.ts";
import type { ConfState } from "../../src/raft/membership-types.ts";
import type { Message } from "../../src/raft/message.ts";
import { majority } from "../../src/raft/quorum.ts";
import type { PersistBatch } from "../../src/raft/ready.ts";
import type { Group, SimNode } from "./group.ts";

interface Identity {
  readonly text: string;
  readonly prevTerm: number;
}

interface Seen {
  incarnation: number;
  commit: number;
  leads: number;
}

const decoder = new TextDecoder("latin1");

function broken(rule: string, what: string): never {
  throw new Error(`${rule}: ${what}`);
}

function sameIds(a: readonly MemberId[], b: readonly MemberId[]): boolean {
  return a.length === b.length && a.every((id, i) => id === b[i]);
}

/** What a run went through. A chaos that never elects or crashes anybody proves nothing. */
export interface Counts {
  elections: number;
  commits: number;
  truncations: number;
  installs: number;
  jointEntered: number;
  jointLeft: number;
  confChanges: number;
  transfers: number;
  readsServed: number;
  crashes: number;
  writesForgotten: number;
}

function print(conf: ConfState): string {
  return JSON.stringify(conf, (_, value) => (typeof value === "bigint" ? value.toString() : value));
}

export class Oracle {
  readonly counts: Counts = {
    elections: 0,
    commits: 0,
    truncations: 0,
    installs: 0,
    jointEntered: 0,
    jointLeft: 0,
    confChanges: 0,
    transfers: 0,
    readsServed: 0,
    crashes: 0,
    writesForgotten: 0,
  };
  /** Term of the last campaign that a transfer began, by member. */
  readonly #privileged = new Map<MemberId, number>();
  /** O1. */
  readonly #leaders = new Map<number, string>();
  /** O2, by index and term. */
  readonly #identities = new Map<string, Identity>();
  /** O4, O7: the one history. */
  readonly committedTerms: number[] = [0, 1];
  /** O3: the term in which each became committed. A leader of an earlier one may win late and need not have it. */
  readonly #committedIn: number[] = [0, 1];
  readonly #hashes: number[] = [0, 0];
  /** O6. */
  readonly #votes = new Map<string, MemberId>();
  /** O8. */
  readonly #confs = new Map<number, string>();
  #lastConf: ConfState | undefined;
  /** O9: what was committed anywhere when each read was issued. */
  readonly #reads = new Map<number, number>();
  readonly #seen = new Map<MemberId, Seen>();

  /** O8: where the chain of configurations begins. */
  founded(conf: ConfState): void {
    this.#lastConf = conf;
  }

  fold(hash: number, entry: Entry): number {
    let h = Math.imul(hash ^ entry.index, 0x85ebca6b) ^ Math.imul(entry.term, 0xc2b2ae35);
    for (const byte of entry.data) h = Math.imul(h ^ byte, 0x01000193);
    return h >>> 0;
  }

  #entry(entry: Entry, prevTerm: number): void {
    const key = `${entry.index}@${entry.term}`;
    const text = `${entry.kind} ${decoder.decode(entry.data)}`;
    const known = this.#identities.get(key);
    if (known === undefined) this.#identities.set(key, { text, prevTerm });
    else if (known.text !== text) broken("O2", `two entries ${key}: "${known.text}" and "${text}"`);
    else if (known.prevTerm !== prevTerm) broken("O2", `two prefixes below ${key}`);
  }

  textAt(index: number): string | undefined {
    return this.#identities.get(`${index}@${this.committedTerms[index]}`)?.text;
  }

  batch(node: SimNode, batch: PersistBatch): void {
    if (batch.cutFrom !== undefined) this.counts.truncations += 1;
    for (let i = 0; i < batch.entries.length; i++) {
      const entry = batch.entries[i]!;
      const before = i > 0 ? batch.entries[i - 1]!.term : node.raft.termAt((entry.index - 1) as typeof entry.index);
      if (before !== undefined) this.#entry(entry, before);
    }
  }

  written(node: SimNode, batch: PersistBatch): void {
    const { term, votedFor } = batch.hardState;
    if (batch.install !== undefined) this.counts.installs += 1;
    if (votedFor !== undefined) this.#vote(node.id, term, votedFor);
  }

  #vote(id: MemberId, term: number, candidate: MemberId): void {
    const key = `${id}@${term}`;
    const known = this.#votes.get(key);
    if (known !== undefined && known !== candidate)
      broken("O6", `${id} votes for ${known} and ${candidate} in ${term}`);
    this.#votes.set(key, candidate);
  }

  sent(group: Group, node: SimNode, to: MemberId, message: Message): void {
    const { disk } = node;
    if (message.kind === "append") {
      let before: number = message.prevTerm;
      for (const entry of message.entries) {
        this.#entry(entry, before);
        before = entry.term;
      }
    } else if (message.kind === "requestVote" && message.transfer) {
      this.#privileged.set(node.id, message.term);
    } else if (message.kind === "voteResponse" && message.granted) {
      const durable = disk.hardState.term === message.term && disk.hardState.votedFor === to;
      if (!durable && disk.hardState.term <= message.term)
        broken("O6", `${node.id} grants what its disk does not know`);
      this.#vote(node.id, message.term, to);
    } else if (message.kind === "appendResponse" && !message.rejected) {
      if (disk.hardState.term < message.term) broken("O6", `${node.id} answers in a term it may forget`);
      if (disk.last < message.index) broken("O6", `${node.id} acknowledges ${message.index}, has ${disk.last} on disk`);
      const leader = group.nodes.get(to);
      const status = leader?.up === true ? leader.raft.status() : undefined;
      if (status?.role !== "leader" || status.term !== message.term) return;
      const theirs = leader!.raft.termAt(message.index);
      const mine = disk.termAt(message.index);
      if (theirs !== undefined && mine !== undefined && theirs !== mine) {
        broken("O6", `${node.id} acknowledges ${message.index} of term ${mine}, the leader's is of ${theirs}`);
      }
    }
  }

  crashed(forgotten: number): void {
    this.counts.crashes += 1;
    this.counts.writesForgotten += forgotten;
  }

  restarted(node: SimNode): void {
    this.#seen.delete(node.id);
  }

  observe(group: Group, node: SimNode): void {
    const { term, commit, role, base } = { ...node.raft.status() };
    let seen = this.#seen.get(node.id);
    if (seen === undefined) {
      seen = { incarnation: node.incarnation, commit: base.index, leads: 0 };
      this.#seen.set(node.id, seen);
    }
    if (role === "leader" && seen.leads !== term) {
      seen.leads = term;
      this.#elected(node, term);
    }
    if (commit < seen.commit) broken("O7", `${node.id} takes back ${seen.commit}, now ${commit}`);
    if (commit === seen.commit) return;
    for (let i = seen.commit + 1; i <= commit; i++) {
      const at = node.raft.termAt(i as typeof commit);
      if (at === undefined) continue;
      const known = this.committedTerms[i];
      if (known === undefined) {
        this.committedTerms[i] = at;
        this.#committedIn[i] = term;
        this.counts.commits += 1;
      } else if (known !== at)
        broken("O4", `two committed entries ${i}: of term ${known} and, at ${node.id}, of ${at}`);
    }
    if (role === "leader" && node.raft.termAt(commit) === term) this.#durableQuorum(group, node, commit, term);
    seen.commit = commit;
  }

  #elected(node: SimNode, term: number): void {
    const who = `${node.id} incarnation ${node.incarnation}`;
    const known = this.#leaders.get(term);
    if (known !== undefined && known !== who) broken("O1", `term ${term} is led by ${known} and by ${who}`);
    // E6: or it could forget that it did, and lead the term once more (B01).
    const { hardState } = node.disk;
    if (hardState.term !== term || hardState.votedFor !== node.id)
      broken("O6", `${who} leads ${term} on a vote in memory`);
    this.#leaders.set(term, who);
    this.counts.elections += 1;
    if (this.#privileged.get(node.id) === term) this.counts.transfers += 1;
    const { base } = node.raft.status();
    for (let i: number = base.index; i < this.committedTerms.length; i++) {
      if (this.committedTerms[i] === undefined || this.#committedIn[i]! >= term) continue;
      const at = node.raft.termAt(logIndex(i));
      if (at !== this.committedTerms[i]) {
        broken("O3", `${who} of term ${term} has ${i} of term ${at}, committed is ${this.committedTerms[i]}`);
      }
    }
  }

  #durableQuorum(group: Group, node: SimNode, index: number, term: number): void {
    const { conf } = node.raft;
    for (const half of [conf.voters, conf.votersOutgoing]) {
      if (half.length === 0) continue;
      const have = half.filter((id) => {
        const disk = group.nodes.get(id)?.disk;
        return disk !== undefined && (disk.base.index >= index || disk.termAt(index) === term);
      });
      if (have.length < majority(half.length)) broken("O5", `${node.id} commits ${index}, durable at [${have}] only`);
    }
  }

  applied(node: SimNode, entry: Entry): void {
    const { index } = entry;
    if (entry.index > node.disk.last) broken("W10", `${node.id} applies ${index}, has ${node.disk.last} on disk`);
    if (this.committedTerms[index] !== entry.term) broken("O4", `${node.id} applies ${index} of term ${entry.term}`);
    const known = this.#hashes[index];
    if (known === undefined) this.#hashes[index] = node.machine.hash;
    else if (known !== node.machine.hash) broken("O13", `${node.id} differs in state at ${index}`);
    if (entry.kind === "confChange") this.#configured(index, node.raft.conf);
  }

  #configured(index: number, conf: ConfState): void {
    const text = print(conf);
    const known = this.#confs.get(index);
    if (known !== undefined) {
      if (known !== text) broken("O8", `two configurations at ${index}: ${known} and ${text}`);
      return;
    }
    this.#confs.set(index, text);
    this.counts.confChanges += 1;
    const was = this.#lastConf;
    this.#lastConf = conf;
    if (was === undefined) return;
    if (was.votersOutgoing.length === 0 && conf.votersOutgoing.length > 0) this.counts.jointEntered += 1;
    if (was.votersOutgoing.length > 0 && conf.votersOutgoing.length === 0) this.counts.jointLeft += 1;
    const same = sameIds(was.voters, conf.voters) && sameIds(was.votersOutgoing, conf.votersOutgoing);
    const enters = was.votersOutgoing.length === 0 && sameIds(was.voters, conf.votersOutgoing);
    const leaves =
      was.votersOutgoing.length > 0 && conf.votersOutgoing.length === 0 && sameIds(was.voters, conf.voters);
    const changed =
      was.voters.filter((id) => !conf.voters.includes(id)).length +
      conf.voters.filter((id) => !was.voters.includes(id)).length;
    const simple = was.votersOutgoing.length === 0 && conf.votersOutgoing.length === 0 && changed <= 1;
    if (!same && !enters && !leaves && !simple) broken("O8", `from ${print(was)} to ${text}`);
  }

  readIssued(ref: number, group: Group): void {
    let most = 0;
    for (const node of group.nodes.values()) most = Math.max(most, node.raft.status().commit);
    this.#reads.set(ref, most);
  }

  readServed(ref: number, index: number): void {
    const least = this.#reads.get(ref)!;
    this.counts.readsServed += 1;
    if (index < least) broken("O9", `read ${ref} served at ${index}, ${least} was committed before it`);
  }

  stateAt(index: number): number | undefined {
    return this.#hashes[index];
  }
}
