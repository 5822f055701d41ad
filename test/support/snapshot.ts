/** Snapshot files of a member whose machine was given some commands, without a server around it. */
import { createHmac } from "node:crypto";
import { Sha256 } from "../../src/base/sha256.ts";
import { MemoryDisk } from "../../src/platform/memory-disk.ts";
import { snapshotPieces } from "../../src/storage/snapshot-file.ts";
import { createState, StateBackend } from "../../src/storage/state-backend.ts";
import { FastClock } from "./clock.ts";
import { seededRandom } from "./random.ts";
import { Member } from "./state.ts";
import { at, checksum, identity } from "./storage.ts";

export const hmac = (key: Uint8Array, data: Uint8Array): Uint8Array =>
  new Uint8Array(createHmac("sha256", key).update(data).digest());

/** The state database of such a member, on a disk of its own. */
export async function stateOf(fill: (member: Member) => void): Promise<{ state: StateBackend; member: Member }> {
  const member = new Member();
  fill(member);
  // As before any flush.
  member.machine.seal();
  const disk = new MemoryDisk({ clock: new FastClock(), random: seededRandom(1) });
  const records = [...member.state.records].map(
    ([name, value]) => [new Uint8Array(Buffer.from(name, "latin1")), value] as const,
  );
  await createState(disk, "state-1", at(member.machine.applied.index, 1), records, checksum);
  return { state: await StateBackend.open({ disk, generation: 1, checksum }), member };
}

/** The whole file, as a client saves it. */
export async function snapshotFileOf(fill: (member: Member) => void): Promise<Uint8Array> {
  const { state, member } = await stateOf(fill);
  const snapshot = state.snapshot();
  const head = {
    clusterId: identity.clusterId,
    memberId: identity.memberId,
    index: snapshot.index,
    term: snapshot.term,
    revision: member.machine.revision,
    compactRevision: member.machine.compactRevision,
    serverVersion: "0.0.1",
  };
  const digest = new Sha256();
  const pieces: Uint8Array[] = [];
  for await (const piece of snapshotPieces(head, snapshot)) {
    pieces.push(piece);
    digest.update(piece);
  }
  await snapshot.close();
  await state.close();
  return new Uint8Array(Buffer.concat([...pieces, digest.digest()]));
}
