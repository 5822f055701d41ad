/** What the leader knows of each member's log, and how much it may send (raft-notes section 4). */
import type { MemberId } from "../base/ids.ts";
import { compareIds } from "../base/ids.ts";
import { Inflights } from "./inflights.ts";
import type { ConfState } from "./membership-types.ts";
import { majorityValue } from "./quorum.ts";

export type ProgressState = "probe" | "replicate" | "snapshot";

export class Progress {
  readonly id: MemberId;
  /** A12: answers that name an older session belong to a member of that name that was removed since. */
  readonly session: number;
  readonly inflights: Inflights;
  state: ProgressState = "probe";
  /** Highest index known durable there. Never falls within a session (V6). */
  match: number = 0;
  /** First index not sent yet. Always above `match`. */
  next: number;
  /** A probe is out: nothing more until an answer or a heartbeat response. */
  paused: boolean = false;
  /** F2, F3: one append at the next take, even if empty or the window is full. */
  force: boolean = false;
  /** C2. */
  recentActive: boolean;
  /** A16: highest commit index this member was told and can use. */
  sentCommit: number = 0;
  /** R2: highest read position it echoed. */
  readAck: number = 0;
  /** M8: the first read position that came with the commit that removed the leader; 0 before. */
  toldAt: number = 0;
  /** The running snapshot stream; 0 if there is none. */
  snapshotSession: number = 0;
  isVoter: boolean = false;
  isVoterOutgoing: boolean = false;

  constructor(id: MemberId, session: number, next: number, recentActive: boolean, inflights: Inflights) {
    this.id = id;
    this.session = session;
    this.next = next;
    this.recentActive = recentActive;
    this.inflights = inflights;
  }

  becomeProbe(next: number, paused: boolean): void {
    this.state = "probe";
    this.next = Math.max(next, this.match + 1);
    this.paused = paused;
    this.force = false;
    this.sentCommit = Math.min(this.sentCommit, this.match);
    this.inflights.clear();
  }

  becomeReplicate(): void {
    this.state = "replicate";
    this.next = this.match + 1;
    this.paused = false;
    this.inflights.clear();
  }

  becomeSnapshot(session: number): void {
    this.state = "snapshot";
    this.snapshotSession = session;
    this.paused = false;
    this.force = false;
    this.inflights.clear();
  }
}

const scratch: number[] = [];

export type Measure = "match" | "readAck" | "active" | "told";

/** M2: the largest value a quorum of the active configuration has reached. */
export function quorumReached(peers: readonly Progress[], measure: Measure): number {
  return Math.min(halfReached(peers, measure, true), halfReached(peers, measure, false));
}

function halfReached(peers: readonly Progress[], measure: Measure, incoming: boolean): number {
  let count = 0;
  for (const peer of peers) {
    if (!(incoming ? peer.isVoter : peer.isVoterOutgoing)) continue;
    scratch[count] = measured(peer, measure);
    count += 1;
  }
  return majorityValue(scratch, count);
}

function measured(peer: Progress, measure: Measure): number {
  switch (measure) {
    case "match":
      return peer.match;
    case "readAck":
      return peer.readAck;
    case "active":
      return peer.recentActive ? 1 : 0;
    case "told":
      return peer.toldAt > 0 && peer.readAck >= peer.toldAt ? 1 : 0;
  }
}

/** Every member of a configuration once, by id. */
export function membersOf(conf: ConfState): MemberId[] {
  const all = new Set<MemberId>([...conf.voters, ...conf.votersOutgoing, ...conf.learners, ...conf.learnersNext]);
  return [...all].sort(compareIds);
}

export function findPeer(peers: readonly Progress[], id: MemberId): Progress | undefined {
  for (const peer of peers) if (peer.id === id) return peer;
  return undefined;
}

export interface ProgressOptions {
  readonly inflightCountMax: number;
  readonly inflightBytesMax: number;
}

/** A member that was not there before: M7, or E12 when all begin anew. */
export function newProgress(
  id: MemberId,
  session: number,
  next: number,
  recentActive: boolean,
  options: ProgressOptions,
): Progress {
  const inflights = new Inflights(options.inflightCountMax, options.inflightBytesMax);
  return new Progress(id, session, next, recentActive, inflights);
}
