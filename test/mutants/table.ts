/**
 * Bugs to plant, one at a time, and where each must be found. A row changes the source by a patch beside this file or by
 * replacing text that stands there exactly once; what no longer applies is an error, so a row never rots in silence.
 * `npm run mutants` runs them all. Append rows; ids stay.
 */
import type { FaultKind, SimOptions } from "../../src/testing/index.ts";
import type { Probe } from "./probe.ts";

export interface Edit {
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

export interface Mutant {
  readonly id: string;
  /** Ids of the catalogue of real bugs (docs/reference/raft-notes.md, section 14) that this one is an instance of. */
  readonly catalogue?: readonly string[];
  readonly what: string;
  /** Name of a patch in this folder, without ".patch". */
  readonly patch?: string;
  readonly edits?: readonly Edit[];
  readonly probe: Probe;
}

const CORE: Probe = { kind: "core", seeds: 600 };
const core = (patch: string, what: string, ...catalogue: string[]): Mutant => ({
  id: patch,
  what,
  patch,
  probe: CORE,
  ...(catalogue.length === 0 ? {} : { catalogue }),
});

/** Where a bug needs an exchange that chance hardly ever draws. */
const rule = (mutant: Mutant, file: string, name: string): Mutant => ({
  ...mutant,
  probe: { kind: "rule", file: `test/raft/${file}.test.ts`, name },
});

const CRASHES: readonly FaultKind[] = ["kill", "power cut", "power cut of all", "torn batch", "kill of several"];
const PARTED: readonly FaultKind[] = ["partition", "one-way partition", "pause", "kill", "leadership transfer"];

const sim = (seeds: number, options: Omit<SimOptions, "seed">): Probe => ({
  kind: "sim",
  seeds: Array.from({ length: seeds }, (_, i) => i + 1),
  options: { nodes: 3, ...options },
});

// The ledger would make good what these bugs do to a write: so their clients' writes bear no numbers.
const PLAIN = { seconds: 20, exactlyOnce: false } as const;
const KV = sim(10, { ...PLAIN, faults: PARTED });
const KV_QUIET = sim(2, { ...PLAIN, seconds: 8, faults: [] });
const KV_CRASH = sim(10, { seconds: 20, faults: CRASHES, server: { flushIntervalMs: 50, trailingEntries: 20 } });
const KV_LOSSY = sim(10, { ...PLAIN, faults: ["loss", "duplication", "reordering", "slow links", "kill"] });
const LEASES = sim(10, { seconds: 25, workload: "leases", faults: PARTED });
const LEASES_QUIET = sim(3, { seconds: 15, workload: "leases", faults: [] });
const LEASES_CRASH = sim(8, { seconds: 25, workload: "leases", faults: CRASHES });
/** A holder must ask a leader just before it wakes, and then look at the right moment: some of these seeds have it. */
const SLEEPERS: Probe = {
  kind: "sim",
  seeds: [94, 58, 123, ...Array.from({ length: 150 }, (_, i) => i + 1)],
  options: { nodes: 3, seconds: 60, workload: "leases", clients: 10, faults: ["sleeping leader"], meanPauseMs: 1_000 },
};
const WATCHES = sim(8, { seconds: 20, workload: "watches", faults: ["kill", "partition", "compaction"] });
const WATCHES_QUIET = sim(3, {
  seconds: 15,
  workload: "watches",
  faults: ["compaction"],
  server: { watchProgressIntervalMs: 300 },
});
const LOCK_SERVICE = sim(3, { seconds: 15, workload: "lock-service", faults: [] });
const ELECTION_SERVICE = sim(3, { seconds: 15, workload: "election-service", faults: [] });
const WATCHES_SNAPSHOT = sim(10, {
  seconds: 30,
  workload: "watches",
  faults: ["partition", "pause"],
  server: { trailingEntries: 1, flushIntervalMs: 50 },
});

export const MUTANTS: readonly Mutant[] = [
  rule(
    core("a5-ack-last-index", "acknowledges its last entry instead of what the append proved", "B20"),
    "replication",
    "A4, A5: an empty append",
  ),
  rule(
    core("a6-clamp-by-last", "commits up to its last entry instead of what the append proved", "B20"),
    "replication",
    "B20",
  ),
  core("a8-stale-rejections", "acts on rejections that are late", "B24"),
  rule(
    core("a12-ignore-sessions", "counts acknowledgements of a member that was removed since", "B24"),
    "replication",
    "B24, A12",
  ),
  rule(
    core("a13-commit-older-term", "commits entries of older terms by counting"),
    "replication",
    "A13: entries of older terms",
  ),
  core("a15-count-unsynced-self", "the leader counts its own copy before it is durable", "B09"),
  core("e5-no-log-check", "votes for a candidate whose log is behind"),
  core("e6-lead-on-undurable-vote", "leads on the grants of others before its own vote is durable", "B01"),
  core("e9-clear-vote", "a step-down within a term forgets the vote", "B14", "B13"),
  core("f2-stuck-window", "a full window is never asked about", "B40"),
  core("f3-stuck-probe", "a heartbeat's answer does not resume a paused probe", "B40"),
  core("m3-one-half", "a joint configuration decides with the incoming half alone", "B27"),
  core("m4-no-barrier", "proposes a change while another is not applied", "B28"),
  core("m5-no-auto-leave", "nobody leaves the joint phase"),
  rule(core("m9-campaign-unapplied", "campaigns with a committed change unapplied", "B25"), "reconfigure", "M9, B25"),
  core("n9-keep-old-tail", "a snapshot lets what was durable of the old log stand", "B21"),
  core("q4-applied-jumps", "the apply cursor follows the commit instead of what was handed out", "B19"),
  core("r1-read-before-own-commit", "a new leader answers reads before it has committed in its term", "B47"),
  core("r4-any-heartbeat-confirms", "an answer to an earlier heartbeat confirms a read", "B08"),
  core("r6-answers-alone", "a leader without a quorum answers reads alone", "B02", "B03"),
  core("t4-ignore-refusal-term", "the term of a refused pre-vote is ignored", "B31"),
  core("u2-leak", "bytes of applied entries go on counting against the bound", "B41"),
  rule(
    core("v10-keep-withdrawn-acks", "an acknowledgement outlives the entries that it was for"),
    "replication",
    "V10: an acknowledgement of entries",
  ),
  core("w-ack-before-write", "promises leave without waiting for the disk", "B10", "B11"),
  core("w5-no-clip", "a completed write vouches for entries that took the place of its own", "B17"),
  core("w10-apply-undurable", "applies what its own disk does not hold yet", "B09"),
  {
    id: "r3-position-reused",
    catalogue: ["B04"],
    what: "a later read round has the position of an earlier one, whose echoes confirm it",
    edits: [
      {
        file: "src/raft/read-index.ts",
        find: "    this.#position += 1;\n",
        replace: "    if (this.#position === 0) this.#position = 1;\n",
      },
    ],
    probe: CORE,
  },
  {
    id: "w2-term-without-vote",
    catalogue: ["B12"],
    what: "a new term is written together with the candidate of an older one",
    edits: [
      {
        file: "src/raft/raft.ts",
        find: "const hardState = { term: core.term, votedFor: core.votedFor, commit: core.commit };",
        replace:
          "this.#lastVote = core.votedFor ?? this.#lastVote;\n    const hardState = { term: core.term, votedFor: this.#lastVote, commit: core.commit };",
      },
      {
        file: "src/raft/raft.ts",
        find: "  #takeSoft(): SoftState | undefined {",
        replace: "  #lastVote: MemberId | undefined;\n\n  #takeSoft(): SoftState | undefined {",
      },
    ],
    probe: CORE,
  },
  {
    id: "s-index-in-its-own-batch",
    catalogue: ["B45"],
    what: "the applied index is written in a batch of its own, behind the data",
    edits: [
      {
        file: "src/storage/state-backend.ts",
        find: "      writer.put(META_KEY, encodeMeta(meta, this.#checksum));\n    } catch (error) {\n      await writer.abandon();\n      throw error;\n    }\n    await writer.write({ sync: true });\n    this.#meta = meta;",
        replace:
          '      const old: StateMeta = { ...meta, index: this.#meta.index, term: this.#meta.term };\n      writer.put(META_KEY, encodeMeta(old, this.#checksum));\n    } catch (error) {\n      await writer.abandon();\n      throw error;\n    }\n    await writer.write({ sync: true });\n    await this.#database.batch([{ kind: "put", key: META_KEY, value: encodeMeta(meta, this.#checksum) }], { sync: false });\n    this.#meta = meta;',
      },
    ],
    probe: KV_CRASH,
  },
  {
    id: "s-snapshot-forgets-a-failed-batch",
    what: "a received snapshot goes on behind a batch that could not be written",
    edits: [
      {
        file: "src/storage/snapshot-stream.ts",
        find: "  async #write(): Promise<void> {\n    await this.#writing;\n",
        replace: "  async #write(): Promise<void> {\n",
      },
    ],
    probe: { kind: "rule", file: "test/storage/failed-writes.test.ts", name: "whichever of them fails" },
  },
  {
    id: "d-acknowledge-before-write",
    catalogue: ["B10", "B09"],
    what: "the driver reports a batch as durable before it is written",
    edits: [
      {
        file: "src/server/driver.ts",
        find: "        await this.#o.wal.append(\n",
        replace:
          "        if (batch !== undefined && batch.install === undefined) {\n          this.#o.raft.persisted(batch.seq);\n          this.#send(batch.messagesAfter);\n          await new Promise<void>((resolve) => this.#o.clock.after(30, resolve));\n        }\n        await this.#o.wal.append(\n",
      },
      {
        file: "src/server/driver.ts",
        find: "          this.#o.raft.persisted(batch.seq);\n          this.#send(batch.messagesAfter);\n        }\n        // With",
        replace:
          "          if (batch.install !== undefined) {\n            this.#o.raft.persisted(batch.seq);\n            this.#send(batch.messagesAfter);\n          }\n        }\n        // With",
      },
    ],
    probe: KV_CRASH,
  },
  {
    id: "p-read-before-applied",
    what: "a confirmed read is answered before this member has applied up to its index",
    edits: [
      { file: "src/server/reads.ts", find: "    if (index <= applied) {", replace: "    if (index + applied >= 0) {" },
    ],
    probe: KV,
  },
  {
    id: "p-read-without-proof",
    catalogue: ["B08"],
    what: "linearizable reads are answered like serializable ones",
    edits: [
      {
        file: "src/server/router.ts",
        find: "        if (!request.serializable) await this.#linearizable(deadline);",
        replace: "        if (request.countOnly) await this.#linearizable(deadline);",
      },
    ],
    probe: KV,
  },
  {
    id: "p-forwarded-is-rejected",
    catalogue: ["B42"],
    what: "a proposal that was forwarded to a leader that is gone is called rejected",
    edits: [
      {
        file: "src/server/proposals.ts",
        find: 'forwardedIn < term) {\n        this.#reject(proposal, new StoreError("LEADER_CHANGED", { outcome: "unknown" }));',
        replace:
          'forwardedIn < term) {\n        this.#reject(proposal, new StoreError("LEADER_CHANGED", { outcome: "rejected" }));',
      },
    ],
    // The message must linger and reach somebody who leads meanwhile, so there must be messages passed on.
    probe: sim(30, {
      ...PLAIN,
      preferLeader: false,
      faults: ["reordering", "slow links", "leadership transfer", "pause"],
    }),
  },
  {
    id: "p-time-out-is-rejected",
    catalogue: ["B42"],
    what: "a proposal that ran out of time is called rejected, though it was handed over",
    edits: [
      {
        file: "src/server/proposals.ts",
        find: 'new StoreError("TIMEOUT", { outcome: "unknown" })',
        replace: 'new StoreError("TIMEOUT", { outcome: "rejected" })',
      },
    ],
    probe: sim(20, { seconds: 20, faults: [...PARTED, "disk stall", "loss"], server: { requestTimeoutMs: 1_500 } }),
  },
  {
    id: "c-retries-unknown-writes",
    catalogue: ["B43"],
    what: "the client sends a write again whose outcome is unknown",
    edits: [
      {
        file: "src/client/retry.ts",
        find: '  if (error.outcome !== "rejected" && !changesNothing(request)) return false;\n',
        replace: '  if (error.outcome === "applied" && !changesNothing(request)) return false;\n',
      },
    ],
    probe: KV,
  },
  {
    id: "k-create-revision-survives",
    what: "a key that is put again after its deletion keeps nothing of its new creation",
    edits: [
      {
        file: "src/kv/store.ts",
        find: "createRevision: live ? (index.create as Revision) : main,",
        replace: "createRevision: index !== undefined ? (index.create as Revision) : main,",
      },
    ],
    probe: KV_QUIET,
  },
  {
    id: "k-deletes-the-deleted",
    what: "deleting what is deleted counts, and makes a revision",
    edits: [
      {
        file: "src/kv/store.ts",
        find: "      if (!index.isLive) return;\n      if (previous",
        replace: "      if (previous",
      },
    ],
    probe: KV_QUIET,
  },
  {
    id: "k-absent-compares-never",
    what: "a comparison with a key that does not exist never holds, not even with 0",
    edits: [
      {
        file: "src/kv/txn.ts",
        find: '  if (keys === 0) return compare.target !== "value" && satisfied(compare, differenceFromAbsent(compare));',
        replace: "  if (keys === 0) return false;",
      },
    ],
    probe: KV_QUIET,
  },
  {
    id: "k-old-revision-visible",
    what: "a read sees a change of the revision after the one it reads at",
    edits: [
      {
        file: "src/kv/key-index.ts",
        find: "      if (older[middle * WIDTH]! <= at) low = middle + 1;",
        replace: "      if (older[middle * WIDTH]! <= at + 1) low = middle + 1;",
      },
    ],
    probe: WATCHES_QUIET,
  },
  {
    id: "m-apply-looks-at-waiters",
    catalogue: ["B46"],
    what: "what an entry does depends on whether somebody waits for it on this member",
    edits: [
      {
        file: "src/kv/store.ts",
        find: "      if (!index.isLive) return;\n      if (previous",
        replace: "      if (!index.isLive && room.wanted) return;\n      if (previous",
      },
    ],
    probe: KV_QUIET,
  },
  {
    id: "l-short-renewal",
    what: "a renewal gives less than the TTL",
    edits: [
      {
        file: "src/lease/expiry.ts",
        find: "    const deadline = now + lease.grantedTtl * 1000;",
        replace: "    const deadline = now + lease.grantedTtl * 600;",
      },
    ],
    probe: LEASES_QUIET,
  },
  {
    id: "l-short-inheritance",
    what: "a new leader gives the leases it finds a part of their time only",
    edits: [
      {
        file: "src/lease/expiry.ts",
        find: "this.#inheritedAt + lease.remainingTtl * 1000, this.#now",
        replace: "this.#inheritedAt - 1000 + lease.remainingTtl * 300, this.#now",
      },
    ],
    probe: LEASES,
  },
  {
    id: "l-deposed-leader-revokes",
    catalogue: ["B49"],
    what: "what a deposed leader still wants to revoke is forwarded, and applied",
    edits: [
      {
        file: "src/machine/apply.ts",
        find: '  if (command.term !== undefined && command.term !== term) throw new StoreError("LEADER_CHANGED");\n',
        replace: "",
      },
      {
        file: "src/server/lease-keeper.ts",
        find: 'await this.#o.propose({ kind: "leaseRevoke", id: lease.id, term }, Infinity, term);',
        replace: 'await this.#o.propose({ kind: "leaseRevoke", id: lease.id, term }, Infinity, undefined as never);',
      },
      {
        file: "src/server/lease-keeper.ts",
        find: "    if (!late) {",
        replace: "    if (!late || now > 0) {",
      },
    ],
    probe: sim(20, { seconds: 30, workload: "leases", faults: ["pause", "partition", "one-way partition"] }),
  },
  {
    id: "l-keep-alive-without-proof",
    catalogue: ["B08"],
    what: "a keep-alive is answered without a ReadIndex round: by a leader that others have deposed, too",
    edits: [
      {
        file: "src/server/lease-keeper.ts",
        find: '        case "renewed":\n          await linearizable(deadline);\n',
        replace: '        case "renewed":\n',
      },
    ],
    probe: SLEEPERS,
  },
  {
    id: "l-keys-outlive-their-lease",
    what: "the end of a lease leaves its keys",
    edits: [
      {
        file: "src/machine/apply.ts",
        find: "  const keys = yield* sortInSlices([...(lease.keys ?? [])], (a, b) => (a < b ? -1 : 1), budget);",
        replace:
          "  const keys = yield* sortInSlices([...(lease.keys ?? [])].slice(1), (a, b) => (a < b ? -1 : 1), budget);",
      },
    ],
    probe: LEASES_QUIET,
  },
  {
    id: "l-attachments-lost",
    catalogue: ["B50"],
    what: "a member that starts again has forgotten which keys belong to which lease",
    edits: [
      {
        file: "src/lease/lessor.ts",
        find: "      leaseOf.set(key, lease);\n      lease.keys ??= new Set();\n      lease.keys.add(key);\n    }\n    return { leases",
        replace: "    }\n    return { leases",
      },
    ],
    probe: LEASES_CRASH,
  },
  {
    id: "t-repeated-frames",
    what: "frames between members that the network repeats are taken twice",
    edits: [
      {
        file: "src/transport/peers.ts",
        find: "      if (!link.arrivals.isFirst(numberOf(frame))) return;",
        replace: "      link.arrivals.isFirst(numberOf(frame));",
      },
    ],
    probe: KV_LOSSY,
  },
  {
    id: "c-watch-repeats",
    catalogue: ["B53"],
    what: "a watch that goes on elsewhere tells the last revision again",
    edits: [
      {
        file: "src/client/watch.ts",
        find: "    this.#next = Math.max(this.#next, at + 1);",
        replace: "    this.#next = Math.max(this.#next, at);",
      },
    ],
    probe: WATCHES,
  },
  {
    id: "c-watch-skips",
    what: "a watch that goes on elsewhere passes over a revision",
    edits: [
      {
        file: "src/client/watch.ts",
        find: "    this.#next = Math.max(this.#next, at + 1);",
        replace: "    this.#next = Math.max(this.#next, at + 2);",
      },
    ],
    probe: WATCHES,
  },
  {
    id: "h-watchers-after-a-snapshot",
    catalogue: ["B51"],
    what: "watchers are not woken for what a snapshot brought",
    edits: [
      {
        file: "src/server/watch-hub.ts",
        find: "        cursor.synced = false;\n        this.#enqueue(cursor);\n      }\n    }\n  }\n",
        replace:
          "        cursor.synced = true;\n        cursor.next = Math.max(cursor.next, source.store.revision + 1);\n      }\n    }\n  }\n",
      },
    ],
    probe: WATCHES_SNAPSHOT,
  },
  {
    id: "h-compacted-watch-goes-on",
    catalogue: ["B53"],
    what: "a watch that lags behind a compaction goes on at it without a word",
    edits: [
      {
        file: "src/server/watch-hub.ts",
        find: "      cursor.compacted = true;\n      this.#index.remove(cursor.selection.span, cursor);\n      cursor.stream.send(cursor.id, 0, { canceled: true, compactRevision: store.compactRevision });",
        replace: "      cursor.next = store.compactRevision;\n      this.#enqueue(cursor);",
      },
    ],
    probe: WATCHES_QUIET,
  },
  {
    id: "h-torn-revision",
    what: "the events of one revision come in two messages",
    edits: [
      {
        file: "src/server/watch-hub.ts",
        find: "      else cursor.stream.send(cursor.id, stamp, { events });",
        replace:
          "      else {\n        if (events.length > 1) cursor.stream.send(cursor.id, stamp, { events: events.slice(0, 1) });\n        cursor.stream.send(cursor.id, stamp, { events: events.slice(events.length > 1 ? 1 : 0) });\n      }",
      },
    ],
    probe: WATCHES_QUIET,
  },
  {
    id: "h-wrong-previous",
    what: "an event's previous value is the one before the previous one",
    edits: [
      {
        file: "src/server/watch-reader.ts",
        find: "    const at = kv.modRevision - 1;",
        replace: "    const at = kv.modRevision - 2;",
      },
    ],
    probe: WATCHES_QUIET,
  },
  {
    id: "h-progress-overtakes",
    catalogue: ["B53"],
    what: "a progress notice overtakes events that are still to come",
    edits: [
      {
        file: "src/server/watch-hub.ts",
        find: "    return this.#seen === this.#source.store.revision ? this.#seen : undefined;",
        replace: "    return this.#source.store.revision + 3;",
      },
    ],
    probe: WATCHES_QUIET,
  },
  {
    id: "q-service-does-not-wait",
    what: "the lock service answers whoever has a place, whether or not it is the first",
    edits: [
      {
        file: "src/server/queues.ts",
        find: "      const header = await this.#waitTurn(place, what, wait);",
        replace: '      const header = what === "mutex" ? stood.header : await this.#waitTurn(place, what, wait);',
      },
    ],
    probe: LOCK_SERVICE,
  },
  {
    id: "q-campaign-does-not-wait",
    what: "a campaign is won at once, whoever came before",
    edits: [
      {
        file: "src/server/queues.ts",
        find: "      if (predecessor === undefined) return mine.header;",
        replace: '      if (predecessor === undefined || what === "election") return mine.header;',
      },
    ],
    probe: ELECTION_SERVICE,
  },
  {
    id: "q-service-takes-away",
    what: "a call of the lock service that is given up takes away what a later call of its lease holds",
    edits: [
      {
        file: "src/server/queues.ts",
        find: "[createdAt(key, token), asWritten]",
        replace: "[createdAt(key, token)]",
      },
    ],
    probe: {
      kind: "rule",
      file: "test/server/queues.test.ts",
      name: "what a later call of the same lease has taken over",
    },
  },
];
