/**
 * A member as storage sees it: entries go into the log, are applied to the state, which is flushed now and then, behind
 * which the log is released. What an entry does to the state follows from its index alone, so that a restart can be
 * held against what should be there.
 */
import { expect } from "vitest";
import { encodeUtf8, equalBytes, toHex } from "../../src/base/bytes.ts";
import { StoreError } from "../../src/base/errors.ts";
import type { Disk } from "../../src/platform/disk.ts";
import type { Entry } from "../../src/raft/entry.ts";
import { createDataDir, type DataDir, openDataDir } from "../../src/storage/data-dir.ts";
import type { StateBackend } from "../../src/storage/state-backend.ts";
import { RECORD_CRC_BYTES } from "../../src/storage/state-record.ts";
import { at, batch, checksum, conf, entry, hard, identity, revisionKey, writeRevision } from "../support/storage.ts";

/** State records by their key in hexadecimal. */
export type Records = Map<string, Uint8Array>;
type Store = Pick<StateBackend, "write" | "delete" | "writeRevision" | "dropRevision">;

const LEASE_SPACE = 2;
const CONF_KEY = Uint8Array.of(7);
const TEXT_BYTES = 220;

/** Some of everything: revisions written once and deleted later, records rewritten, records that come and go. */
export function applyEntry(store: Store, { index, data }: Entry): void {
  writeRevision(store, index, data);
  if (index % 3 === 0 && index > 6) store.dropRevision(index - 5, 0, RECORD_CRC_BYTES + textOf(index - 5).length);
  store.write(Uint8Array.of(LEASE_SPACE, index % 40), data.subarray(0, 16));
  if (index % 4 === 0) store.delete(Uint8Array.of(LEASE_SPACE, (index + 20) % 40));
  if (index % 10 === 0) store.write(CONF_KEY, encodeUtf8(`configuration ${index}`));
}

const keeper = (records: Records): Store => ({
  write: (key, value) => void records.set(toHex(key), value),
  delete: (key) => void records.delete(toHex(key)),
  writeRevision: (main, sub, record) => void records.set(toHex(revisionKey(main, sub)), record.slice(RECORD_CRC_BYTES)),
  dropRevision: (main, sub) => void records.delete(toHex(revisionKey(main, sub))),
});

export const textOf = (index: number): string => `${index} `.repeat(TEXT_BYTES).slice(0, TEXT_BYTES);

const seedState = (store: Pick<Store, "write">): void => store.write(CONF_KEY, encodeUtf8("configuration 0"));

const expected = new Map<number, Records>();

/** What the state holds after entries 1 to `last`, all of term 1. */
export function recordsAfter(last: number): Records {
  const known = expected.get(last);
  if (known !== undefined) return known;
  const records: Records = new Map();
  seedState(keeper(records));
  for (let index = 1; index <= last; index++) applyEntry(keeper(records), entry(index, 1, textOf(index)));
  expected.set(last, records);
  return records;
}

export const create = (disk: Disk): Promise<void> => createDataDir(disk, { identity, conf, seed: seedState, checksum });

export const open = (disk: Disk): Promise<DataDir> => openDataDir(disk, { checksum });

/** Appends entries `from` to `to`, one record each, and applies them. */
export async function run(dir: DataDir, from: number, to: number): Promise<void> {
  for (let index = from; index <= to; index++) {
    const one = entry(index, 1, textOf(index));
    await dir.wal.append(batch(hard(1, index - 1, 0xa1n), { entries: [one] }));
    applyEntry(dir.state, one);
  }
}

/**
 * What a restart knows: the log's end, and the state once the log is replayed. Every record of the scan is also read
 * one by one, as requests read it. A revision that is missing there is damage, as it is for the store.
 */
export async function survey(dir: DataDir): Promise<{ readonly last: number; readonly records: Records }> {
  const records: Records = new Map();
  const keys: Uint8Array[] = [];
  await dir.state.scan((key, value) => {
    keys.push(key);
    records.set(toHex(key), value);
  });
  for (const key of keys) {
    const value = dir.state.read(key);
    if (value === undefined && key[0] === 1) throw new StoreError("STATE_CORRUPT");
    // Not `toEqual`: a hundred thousand of them take minutes.
    if (value === undefined || !equalBytes(value, records.get(toHex(key))!)) {
      expect.fail(`record ${toHex(key)} of the state is another one when read by itself`);
    }
  }
  let last: number = dir.recovered.base.index;
  for (const one of dir.recovered.entries) {
    expect(one.index).toBe(++last);
    if (one.index > dir.state.appliedIndex) applyEntry(keeper(records), one);
  }
  return { last, records };
}

/** Opens, and replays what the state has not yet. */
export async function resume(disk: Disk): Promise<DataDir> {
  const dir = await open(disk);
  for (const one of dir.recovered.entries) if (one.index > dir.state.appliedIndex) applyEntry(dir.state, one);
  return dir;
}

/** Opens, surveys, closes. */
export async function restart(disk: Disk): Promise<{ readonly last: number; readonly records: Records }> {
  const dir = await open(disk);
  try {
    return await survey(dir);
  } finally {
    await dir.close();
  }
}

export function expectRecords(found: Records, last: number): void {
  const should = recordsAfter(last);
  const differing = [...new Set([...found.keys(), ...should.keys()])].filter((key) => {
    const [one, other] = [found.get(key), should.get(key)];
    return one === undefined || other === undefined || !equalBytes(one, other);
  });
  expect(differing, `records that are not as entries 1 to ${last} left them`).toEqual([]);
}

export { at };
