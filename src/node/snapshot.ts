/** Backups in Node: a member's state into a file, what a file holds, and a data directory out of it. */
import { deferred } from "../base/deferred.ts";
import { StoreError } from "../base/errors.ts";
import type { ClusterId, MemberId } from "../base/ids.ts";
import type { Client } from "../client/client.ts";
import type { SnapshotOptions } from "../client/snapshot.ts";
import { nodeChecksum } from "../platform/node/checksum.ts";
import { readFilePieces, writeFileWhole } from "../platform/node/files.ts";
import { nodeWorld } from "../platform/node/world.ts";
import type { StaticMember } from "../server/options.ts";
import { requireEmpty, restoreDataDir } from "../server/restore.ts";
import { inspectSnapshot, type SnapshotSummary } from "../storage/snapshot-file.ts";

export type { SnapshotSummary } from "../storage/snapshot-file.ts";

export interface SaveOptions extends SnapshotOptions {
  /** Told now and then how much is written. `aboutBytes` is an estimate of the whole. */
  readonly onProgress?: ((bytes: number, aboutBytes: number) => void) | undefined;
}

/**
 * Saves a member's state to `file`: written as `<file>.part`, made durable, read back and verified, and only then given its
 * name. An error leaves nothing but what was there before. Throws what `client.snapshot()` throws, `SNAPSHOT_CORRUPT` where
 * the disk gave back something else than was written, `DISK_FAILED`, `DISK_FULL`.
 *
 * @example
 * const { revision } = await saveSnapshot(client, "backup.snap");
 */
export async function saveSnapshot(client: Client, file: string, options: SaveOptions = {}): Promise<SnapshotSummary> {
  await using stream = client.snapshot(options);
  const { aboutBytes } = await stream.opened();
  const summary = deferred<SnapshotSummary>();
  let written = 0;
  const counted = async function* (): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const bytes of stream) {
      yield bytes;
      written += bytes.length;
      options.onProgress?.(written, Math.max(written, aboutBytes));
    }
  };
  await writeFileWhole(file, counted(), async (part) => {
    summary.resolve(await snapshotStatus(part));
  });
  return summary.promise;
}

/**
 * What a snapshot file holds, read and verified to the last byte. Throws `SNAPSHOT_CORRUPT`, `FORMAT_TOO_NEW`,
 * `DISK_FAILED`.
 */
export function snapshotStatus(file: string): Promise<SnapshotSummary> {
  return inspectSnapshot(readFilePieces(file), nodeChecksum);
}

export interface RestoreSnapshotOptions {
  readonly file: string;
  /** The new member's data directory: absent or empty. */
  readonly dir: string;
  /** Default: "default". */
  readonly name?: string | undefined;
  /** Every member of the new cluster, for each of which a directory is restored. Absent: one member alone. */
  readonly peers?: readonly StaticMember[] | undefined;
  /** Tells the new cluster from the old one; needed with `peers`, and to be given again when the members are opened. */
  readonly token?: string | undefined;
  /** How far the revision is moved on. Default 1,000,000,000; 0 keeps it, with the history. */
  readonly bumpRevision?: number | undefined;
  /** Goes with `bumpRevision` above 0, and never without: the default. */
  readonly markCompacted?: boolean | undefined;
}

export interface RestoredMember {
  readonly memberId: MemberId;
  readonly clusterId: ClusterId;
  /** The revision that the new cluster begins with. */
  readonly revision: number;
  readonly snapshot: SnapshotSummary;
}

/**
 * Makes a member's data directory out of a snapshot, for a new cluster. Do it for each member with the same file and the same
 * options, then open them as ever. A crash at any step leaves the directory empty or complete. Throws `SNAPSHOT_CORRUPT`,
 * `FORMAT_TOO_NEW`, `DATA_DIR_NOT_EMPTY`, `DATA_DIR_IN_USE`, `BAD_CONFIG`, `DISK_FAILED`; then nothing was changed.
 *
 * @example
 * for (const { name } of peers) await restoreSnapshot({ file: "backup.snap", dir: `data/${name}`, name, peers, token: "second" });
 */
export async function restoreSnapshot(options: RestoreSnapshotOptions): Promise<RestoredMember> {
  const { file, dir, name = "default", peers, token, bumpRevision, markCompacted } = options;
  if (peers !== undefined && token === undefined) {
    throw new StoreError("BAD_CONFIG", { message: "quorate: a restored cluster needs a token of its own" });
  }
  return restoreDataDir(nodeWorld({ dir }), () => readFilePieces(file), {
    name,
    bootstrap: peers === undefined ? { kind: "alone" } : { kind: "static", token: token!, members: peers },
    bumpRevision,
    markCompacted,
  });
}

/** Throws what `restoreSnapshot` would say of this directory: for whoever restores several, before the first. */
export function requireNewDir(dir: string): Promise<void> {
  return requireEmpty(nodeWorld({ dir }));
}
