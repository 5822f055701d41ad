/**
 * A data directory out of a snapshot file, for a member of a new cluster: the keys with their revisions and the leases, each
 * with its whole TTL; nothing of the old cluster's members, alarms and clients. Every member of the new cluster is made of
 * the same file with the same options, so that all begin with the same state.
 */
import { StoreError } from "../base/errors.ts";
import { type ClusterId, formatId, type MemberId } from "../base/ids.ts";
import { seedMembers } from "../machine/machine.ts";
import {
  decodeLease,
  decodeMeta,
  encodeLease,
  encodeMeta,
  META_KEY as MACHINE_KEY,
  type MachineMeta,
} from "../machine/records.ts";
import { StateHash } from "../machine/state-hash.ts";
import { KEY_SPACE } from "../machine/state-store.ts";
import type { World } from "../platform/world.ts";
import { encodeConfState } from "../raft/codec.ts";
import { createDataDir, probeDataDir } from "../storage/data-dir.ts";
import { inspectSnapshot, readSnapshotFile, type SnapshotSummary } from "../storage/snapshot-file.ts";
import type { StateRecord } from "../storage/state-backend.ts";
import { openRecord } from "../storage/state-record.ts";
import { BIRTH, birthOf } from "./bootstrap.ts";
import type { Bootstrap } from "./options.ts";

/**
 * More than a cluster writes between two backups: at 10,000 writes a second these are 27 hours. What the old cluster wrote
 * after the snapshot had revisions below it, so whoever saw them never meets one of them again with another content.
 */
export const BUMP_REVISION = 1_000_000_000;
/** Leaves room for as many writes as anybody will make. */
const BUMP_MAX = 2 ** 52;

export interface RestoreOptions {
  readonly name: string;
  /** Who the new cluster is. */
  readonly bootstrap: Exclude<Bootstrap, { readonly kind: "join" }>;
  /** Of a member alone: where the others will reach it, if there will be others. */
  readonly peerUrl?: string | undefined;
  /** How far the revision is moved on. 0 keeps it, and with it the history. Default: `BUMP_REVISION`. */
  readonly bumpRevision?: number | undefined;
  /**
   * Marks everything below the new revision as compacted, so that readers and watchers of the old cluster are told. Goes
   * with a bump and never without one, which is the default.
   */
  readonly markCompacted?: boolean | undefined;
}

export interface Restored {
  readonly memberId: MemberId;
  readonly clusterId: ClusterId;
  /** The revision that the new cluster begins with. */
  readonly revision: number;
  readonly snapshot: SnapshotSummary;
}

/**
 * Makes the directory behind `disk`, which must be empty. `source` is read twice: to verify all of it before anything is
 * written, and to copy it. A crash at any step leaves the directory empty or complete. Throws `SNAPSHOT_CORRUPT`,
 * `FORMAT_TOO_NEW`, `DATA_DIR_NOT_EMPTY`, `BAD_CONFIG`; then nothing was changed.
 */
export async function restoreDataDir(
  world: Pick<World, "disk" | "checksum" | "hmac" | "random">,
  source: () => AsyncIterable<Uint8Array>,
  options: RestoreOptions,
): Promise<Restored> {
  const { disk, checksum } = world;
  const { bumpRevision = BUMP_REVISION } = options;
  const { markCompacted = bumpRevision > 0 } = options;
  if (!Number.isSafeInteger(bumpRevision) || bumpRevision < 0 || bumpRevision > BUMP_MAX) {
    throw badConfig(`the revision cannot be moved on by ${bumpRevision}: give a whole number from 0 to 2^52`);
  }
  if (markCompacted !== bumpRevision > 0) {
    throw badConfig("moving the revision on and marking what is below as compacted go together: give both or neither");
  }
  await requireEmpty(world);
  const birth = birthOf(world, options, options.peerUrl);
  const snapshot = await inspectSnapshot(source(), checksum);
  if (birth.clusterId === snapshot.clusterId) {
    throw badConfig(
      `the new cluster would have the id of the old one (${formatId(birth.clusterId)}), and members of both could meet: choose another cluster token`,
    );
  }
  if (!Number.isSafeInteger(snapshot.revision + bumpRevision)) {
    throw badConfig(`revision ${snapshot.revision} cannot be moved on by ${bumpRevision}`);
  }
  const restored = {
    memberId: birth.memberId,
    clusterId: birth.clusterId,
    revision: snapshot.revision + bumpRevision,
    snapshot,
  };
  try {
    await createDataDir(disk, {
      identity: { memberId: birth.memberId, clusterId: birth.clusterId, incarnation: 0 },
      conf: birth.conf,
      base: BIRTH,
      records: recordsOf(world, source(), snapshot, bumpRevision),
      seed: (store) => {
        seedMembers(store, birth.members);
        store.write(Uint8Array.of(KEY_SPACE.conf), encodeConfState(birth.conf));
      },
      checksum,
    });
  } catch (error) {
    // What was begun is cleared away; what that says is not why it failed.
    await probeDataDir(disk).catch(() => {});
    throw error;
  }
  return restored;
}

/** Throws `DATA_DIR_NOT_EMPTY` unless there is nothing but what an interrupted attempt left, which is removed. */
export async function requireEmpty({ disk }: Pick<World, "disk">): Promise<void> {
  const found = await probeDataDir(disk);
  const [first] = found === "present" ? ["a member"] : await disk.list("");
  if (first === undefined) return;
  throw new StoreError("DATA_DIR_NOT_EMPTY", {
    message: `quorate: the data directory is not empty (it has ${first}): restore into a new one`,
  });
}

function badConfig(what: string): StoreError {
  return new StoreError("BAD_CONFIG", { message: `quorate: ${what}` });
}

/** The records of the new state, but for its members. */
async function* recordsOf(
  { checksum }: Pick<World, "checksum">,
  source: AsyncIterable<Uint8Array>,
  expected: SnapshotSummary,
  bumpRevision: number,
): AsyncGenerator<StateRecord, void, undefined> {
  const reading = readSnapshotFile(source, checksum);
  let meta: MachineMeta | undefined;
  try {
    for (;;) {
      const next = await reading.next();
      if (next.done === true) {
        // Read twice, so it could have been another one: nothing is in place yet.
        if (next.value.hash !== expected.hash || next.value.revision !== expected.revision) throw changed();
        break;
      }
      for (const [key, stored] of next.value) {
        const payload = openRecord(key, stored, checksum)!;
        if (key[0] === KEY_SPACE.machine && key[1] === MACHINE_KEY[1]) meta = decodeMeta(payload);
        else {
          const kept = keptOf(key, payload);
          if (kept !== undefined) yield [key, kept];
        }
      }
    }
  } finally {
    await reading.return(expected);
  }
  const found = meta ?? { revision: 1, compactRevision: -1, hashA: 0, hashB: 0 };
  if (found.revision !== expected.revision) {
    throw new StoreError("SNAPSHOT_CORRUPT", {
      message: `quorate: the snapshot cannot be used: it says revision ${expected.revision} and holds ${found.revision}`,
    });
  }
  const revision = found.revision + bumpRevision;
  const compactRevision = bumpRevision > 0 ? revision : found.compactRevision;
  // Two members that were not restored alike differ from the first entry on.
  const hash = new StateHash(found.hashA, found.hashB);
  hash.number(revision);
  hash.number(compactRevision);
  yield [MACHINE_KEY, encodeMeta({ revision, compactRevision, hashA: hash.a, hashB: hash.b })];
}

function changed(): StoreError {
  return new StoreError("SNAPSHOT_CORRUPT", {
    message: "quorate: the snapshot cannot be used: it was changed while it was being read",
  });
}

/** What becomes of a record; `undefined` = it belongs to the old cluster alone. */
function keptOf(key: Uint8Array, payload: Uint8Array): Uint8Array | undefined {
  switch (key[0]) {
    case KEY_SPACE.revision:
    case KEY_SPACE.machine:
      return payload;
    case KEY_SPACE.lease: {
      // Nobody could renew it meanwhile, so it begins anew.
      const { grantedTtl } = decodeLease(key, payload);
      return encodeLease({ grantedTtl, remainingTtl: grantedTtl });
    }
    case KEY_SPACE.member:
    case KEY_SPACE.conf:
    case KEY_SPACE.alarm:
    // Its clients are numbered by entries of the old log.
    case KEY_SPACE.ledger:
      return undefined;
    default:
      throw new StoreError("FORMAT_TOO_NEW", {
        message: `quorate: the snapshot holds records of a kind that this version does not know (${key[0]})`,
      });
  }
}
