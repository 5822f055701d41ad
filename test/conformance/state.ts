/** What the state backend and the snapshot's way from one to another do, on any disk. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { encodeUtf8, toHex } from "../../src/base/bytes.ts";
import { crc32 } from "../../src/base/crc32.ts";
import { prng } from "../../src/base/prng.ts";
import type { Disk } from "../../src/platform/disk.ts";
import { SnapshotReceiver } from "../../src/storage/snapshot-stream.ts";
import { createState, META_KEY, StateBackend } from "../../src/storage/state-backend.ts";
import { openRecord, RECORD_CRC_BYTES, sealRecord } from "../../src/storage/state-record.ts";
import type { DiskFactory, TestDisk } from "../support/disks.ts";
import { testSeed } from "../support/seed.ts";
import { at, checksum, revisionKey, writeRevision } from "../support/storage.ts";

const seed = testSeed();
const SESSION = 4;
const lease = (id: number): Uint8Array => Uint8Array.of(2, id);
const text = (value: string): Uint8Array => encodeUtf8(value);

function drop(state: StateBackend, main: number, value: string): void {
  state.dropRevision(main, 0, RECORD_CRC_BYTES + value.length);
}

async function scan(state: StateBackend): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  await state.scan((key, value) => void found.set(toHex(key), Buffer.from(value).toString()));
  return found;
}

async function chunksOf(state: StateBackend, session = SESSION): Promise<Uint8Array[]> {
  const snapshot = state.snapshot();
  const chunks: Uint8Array[] = [];
  for await (const chunk of snapshot.stream(session)) chunks.push(chunk.slice());
  await snapshot.close();
  return chunks;
}

export function stateSuite(name: string, create: DiskFactory): void {
  describe(`StateBackend on ${name}`, () => {
    let test_: TestDisk;
    let disk: Disk;
    let state: StateBackend;
    const opened = new Set<StateBackend>();

    async function open(generation = 1): Promise<StateBackend> {
      const backend = await StateBackend.open({ disk, generation, checksum });
      opened.add(backend);
      return backend;
    }

    async function reopen(): Promise<StateBackend> {
      await state.close();
      state = await open();
      return state;
    }

    beforeEach(async () => {
      test_ = await create();
      disk = test_.disk;
      await createState(
        disk,
        "state-1",
        at(5, 1),
        [
          [lease(1), text("first")],
          [revisionKey(1), text("r1")],
        ],
        checksum,
      );
      state = await open();
    });
    afterEach(async () => {
      for (const backend of opened) await backend.close();
      opened.clear();
      await test_.remove();
    });

    /** Changes what LevelDB holds behind the backend's back. */
    async function tamper(key: Uint8Array, change: (stored: Uint8Array) => Uint8Array | undefined): Promise<void> {
      await state.close();
      const database = await disk.openDatabase("state-1", { create: false });
      const value = change(database.getSync(key)!.slice());
      await database.batch([value === undefined ? { kind: "del", key } : { kind: "put", key, value }], { sync: true });
      await database.close();
    }

    test("begins as it was created", async () => {
      expect([state.appliedIndex, state.appliedTerm, state.generation]).toEqual([5, 1, 1]);
      expect(await scan(state)).toEqual(
        new Map([
          ["01000000000000000100000000", "r1"],
          ["0201", "first"],
        ]),
      );
      expect(state.read(lease(9))).toBeUndefined();
    });

    test("knows how many bytes its records take, through every change and restart", async () => {
      const bytesOf = async (): Promise<number> => {
        let bytes = 0;
        // The checksum that each is stored with.
        await state.scan((key, value) => {
          bytes += key.length + value.length + 4;
        });
        return bytes;
      };
      expect(await bytesOf()).toBe(state.recordBytes);
      const before = state.recordBytes;
      state.write(lease(2), text("two"));
      state.write(lease(2), text("twice"));
      expect(state.recordBytes).toBe(before + 2 + 4 + 5);
      // What is overwritten or deleted counts until it is flushed.
      state.write(lease(1), text("longer than first"));
      drop(state, 1, "r1");
      writeRevision(state, 2, text("gone before it was flushed"));
      drop(state, 2, "gone before it was flushed");
      const unflushed = state.recordBytes;
      const flushing = state.flush(at(8, 2));
      expect(state.recordBytes).toBe(unflushed);
      state.write(lease(3), text("three"));
      await flushing;
      expect(state.recordBytes).toBeLessThan(unflushed);
      await state.flush(at(9, 2));
      const flushed = state.recordBytes;
      expect(await bytesOf()).toBe(flushed);
      await reopen();
      expect(await bytesOf()).toBe(flushed);
      expect(state.recordBytes).toBe(flushed);
    });

    test("reads what was written at once, keeps what was flushed, forgets the rest", async () => {
      state.write(lease(2), text("two"));
      state.write(lease(1), text("new"));
      drop(state, 1, "r1");
      expect(state.read(lease(2))).toEqual(text("two"));
      await state.flush(at(8, 2));
      expect([state.appliedIndex, state.appliedTerm]).toEqual([8, 2]);
      state.write(lease(3), text("lost"));
      expect(state.read(lease(3))).toEqual(text("lost"));
      expect(await scan(state)).toEqual(
        new Map([
          ["0201", "new"],
          ["0202", "two"],
        ]),
      );
      await reopen();
      expect([state.appliedIndex, state.appliedTerm]).toEqual([8, 2]);
      expect(state.read(lease(1))).toEqual(text("new"));
      expect(state.read(lease(3))).toBeUndefined();
      expect(state.readRevision(1, 0)).toBeUndefined();
      expect(await scan(state)).toEqual(
        new Map([
          ["0201", "new"],
          ["0202", "two"],
        ]),
      );
    });

    test(`revisions read as they were written, dropped and flushed, wherever they are now (seed ${seed})`, async () => {
      // So that it knows what its records take.
      await state.scan(() => {});
      const random = prng(seed);
      const model = new Map<number, string>([[1, "r1"]]);
      const gone = new Map<number, string>();
      let [next, index] = [2, 5];
      const look = (): void => {
        for (let main = 0; main <= next; main++) {
          const record = state.readRevision(main, 0)?.subarray(RECORD_CRC_BYTES);
          const found = record && Buffer.from(record).toString();
          // A cache need not be searched for what is dropped: until a restart it may be answered, but as it was.
          if (gone.has(main)) expect([undefined, gone.get(main)], `dropped revision ${main}`).toContain(found);
          else expect(found, `revision ${main}`).toBe(model.get(main));
        }
      };
      for (let round = 0; round < 12; round++) {
        let flushing: Promise<void> | undefined;
        for (let i = 0; i < 40; i++) {
          if (i === 20 && random() < 0.7) flushing = state.flush(at(++index, 1));
          if (random() < 0.6) {
            const value = `${next} `.repeat(1 + Math.floor(random() * 40));
            writeRevision(state, next, text(value));
            model.set(next++, value);
          } else {
            const dropped = 1 + Math.floor(random() * next);
            const value = model.get(dropped);
            if (value === undefined) continue;
            model.delete(dropped);
            gone.set(dropped, value);
            drop(state, dropped, value);
          }
        }
        look();
        await flushing;
        look();
        if (random() < 0.4) {
          await state.flush(at(++index, 1));
          const { recordBytes } = state;
          await reopen();
          gone.clear();
          await state.scan(() => {});
          expect(state.recordBytes).toBe(recordBytes);
          look();
        }
      }
    });

    test("what is written during a flush belongs to the next", async () => {
      state.write(lease(1), text("in"));
      const flushed = state.flush(at(6, 1));
      state.write(lease(1), text("after"));
      drop(state, 1, "r1");
      expect(state.read(lease(1))).toEqual(text("after"));
      await flushed;
      expect(state.read(lease(1))).toEqual(text("after"));
      expect(await scan(state)).toEqual(
        new Map([
          ["01000000000000000100000000", "r1"],
          ["0201", "in"],
        ]),
      );
      await state.flush(at(7, 1));
      expect(await scan(state)).toEqual(new Map([["0201", "after"]]));
    });

    test("values belong to whoever reads them", async () => {
      state.write(lease(1), text("mine"));
      for (let round = 0; round < 3; round++) {
        state.read(lease(1))!.fill(0);
        expect(state.read(lease(1))).toEqual(text("mine"));
        if (round === 0) await state.flush(at(6, 1));
        else await reopen();
      }
    });

    test("a flush says the index even if nothing else changed, and asks for order", async () => {
      await state.flush(at(9, 3));
      await state.flush(at(9, 3));
      expect((await reopen()).appliedIndex).toBe(9);
      expect(() => state.flush(at(8, 3))).toThrow("V3");
      await state.close();
      await expect(state.flush(at(10, 3))).rejects.toMatchObject({ code: "STOPPED" });
    });

    test("one flush at a time", async () => {
      state.write(lease(1), text("x"));
      const first = state.flush(at(6, 1));
      expect(() => state.flush(at(7, 1))).toThrow("B45");
      await first;
    });

    test("keys outside the machine's spaces are refused", () => {
      expect(() => state.write(META_KEY, text("x"))).toThrow("state");
      expect(() => state.delete(new Uint8Array(0))).toThrow("state");
    });

    test("many writes in one flush, over several slices", async () => {
      for (let i = 2; i < 3000; i++) writeRevision(state, i, text(`value ${i}`));
      await state.flush(at(3000, 1));
      expect((await scan(await reopen())).size).toBe(3000);
      for (let i = 2; i < 3000; i += 2) drop(state, i, `value ${i}`);
      await state.flush(at(3001, 1));
      expect((await scan(await reopen())).size).toBe(1501);
    });

    test.each([
      [
        "a wrong byte in a value",
        lease(1),
        (stored: Uint8Array) => Uint8Array.from(stored, (b, i) => (i === 5 ? b ^ 1 : b)),
      ],
      ["a value cut short", lease(1), (stored: Uint8Array) => stored.subarray(0, 3)],
      ["a record that is gone", lease(1), () => undefined],
      ["a revision that is gone", revisionKey(1), () => undefined],
      ["an older value of a record, whole", lease(1), () => sealRecord(lease(1), text("older"), checksum)],
    ] as const)("the scan notices %s, at every start", async (_what, key, change) => {
      await tamper(key, change);
      for (let start = 0; start < 2; start++) {
        state = await open();
        await expect(scan(state)).rejects.toMatchObject({ code: "STATE_CORRUPT" });
        await state.close();
      }
    });

    test("the scan notices a record too many, and one that moved to another key", async () => {
      await tamper(lease(1), (stored) => stored);
      const database = await disk.openDatabase("state-1", { create: false });
      await database.batch([{ kind: "put", key: lease(8), value: sealRecord(lease(8), text("x"), checksum) }], {
        sync: true,
      });
      await database.close();
      state = await open();
      await expect(scan(state)).rejects.toMatchObject({ code: "STATE_CORRUPT" });
      await state.close();
      const again = await disk.openDatabase("state-1", { create: false });
      await again.batch(
        [
          { kind: "put", key: lease(8), value: again.getSync(lease(1))! },
          { kind: "del", key: lease(1) },
        ],
        {
          sync: true,
        },
      );
      await again.close();
      state = await open();
      await expect(scan(state)).rejects.toMatchObject({ code: "STATE_CORRUPT" });
    });

    test("a read, a snapshot's read, a stream and a flush notice a wrong byte", async () => {
      await tamper(lease(1), (stored) => Uint8Array.from(stored, (b, i) => (i === 5 ? b ^ 1 : b)));
      state = await open();
      expect(() => state.read(lease(1))).toThrow(expect.objectContaining({ code: "STATE_CORRUPT" }));
      const snapshot = state.snapshot();
      await expect(snapshot.read(lease(1))).rejects.toMatchObject({ code: "STATE_CORRUPT" });
      await snapshot.close();
      await expect(chunksOf(state)).rejects.toMatchObject({ code: "STATE_CORRUPT" });
      state.write(lease(1), text("over it"));
      await expect(state.flush(at(6, 1))).rejects.toMatchObject({ code: "STATE_CORRUPT" });
      // What reached the disk is not known: nothing more is written.
      await expect(state.flush(at(7, 1))).rejects.toMatchObject({ code: "STATE_CORRUPT" });
    });

    test("a damaged or missing record of its own, or no database, is STATE_CORRUPT; a newer one is refused by name", async () => {
      await tamper(META_KEY, (stored) => Uint8Array.from(stored, (b, i) => (i === 9 ? b ^ 1 : b)));
      await expect(open()).rejects.toMatchObject({ code: "STATE_CORRUPT" });
      await tamper(META_KEY, (stored) => {
        const payload = stored.slice(4);
        payload[0] = 2;
        return sealRecord(META_KEY, payload, checksum);
      });
      await expect(open()).rejects.toMatchObject({ code: "FORMAT_TOO_NEW", details: { version: 2 } });
      await tamper(META_KEY, () => sealRecord(META_KEY, Uint8Array.of(1, 2, 3), checksum));
      await expect(open()).rejects.toMatchObject({ code: "STATE_CORRUPT" });
      await tamper(META_KEY, () => undefined);
      await expect(open()).rejects.toMatchObject({ code: "STATE_CORRUPT" });
      await expect(open(7)).rejects.toMatchObject({ code: "STATE_CORRUPT" });
    });

    describe("a snapshot", () => {
      async function receive(
        chunks: readonly Uint8Array[],
        more: {
          session?: number;
          index?: number;
          term?: number;
          onRecord?: (key: Uint8Array, value: Uint8Array) => void;
        } = {},
      ): Promise<StateBackend> {
        const receiver = await SnapshotReceiver.begin(disk, {
          generation: 2,
          session: more.session ?? SESSION,
          at: at(more.index ?? state.appliedIndex, more.term ?? state.appliedTerm),
          checksum,
          ...(more.onRecord === undefined ? {} : { onRecord: more.onRecord }),
        });
        try {
          for (const chunk of chunks) await receiver.chunk(chunk);
          const backend = await receiver.finish();
          opened.add(backend);
          return backend;
        } catch (error) {
          await receiver.abort();
          expect((await disk.list("")).filter((one) => one.startsWith("state-"))).toEqual(["state-1"]);
          throw error;
        }
      }

      /** Several chunks, and a record that spans some. */
      async function fill(): Promise<void> {
        for (let i = 2; i < 400; i++) writeRevision(state, i, text(`${i} `.repeat(200)));
        state.write(lease(7), new Uint8Array(200_000).fill(7));
        await state.flush(at(400, 2));
      }

      test("shows the state as of its beginning, whatever is flushed later", async () => {
        state.write(lease(1), text("second"));
        const before = state.snapshot();
        const flushing = state.flush(at(6, 1));
        const during = state.snapshot();
        await flushing;
        const after = state.snapshot();
        expect([before.index, during.index, after.index]).toEqual([5, 5, 6]);
        for (const [snapshot, value] of [
          [before, "first"],
          [during, "first"],
          [after, "second"],
        ] as const) {
          expect(await snapshot.read(lease(1))).toEqual(text(value));
          expect(await snapshot.read(lease(4))).toBeUndefined();
          await snapshot.close();
          await snapshot.close();
        }
      });

      test("arrives whole: records, place, sums", async () => {
        await fill();
        const chunks = await chunksOf(state);
        expect(chunks.length).toBeGreaterThan(5);
        for (const chunk of chunks) expect(chunk.length).toBeLessThanOrEqual(64 << 10);
        const copy = await receive(chunks);
        expect([copy.generation, copy.appliedIndex, copy.appliedTerm]).toEqual([2, 400, 2]);
        expect(await scan(copy)).toEqual(await scan(state));
        // It goes on as the original would: the tally came along.
        writeRevision(copy, 401, text("next"));
        drop(copy, 3, "3 ".repeat(200));
        await copy.flush(at(401, 2));
        expect((await scan(copy)).size).toBe(401);
        expect(await disk.list("")).toEqual(["state-1", "state-2"]);
      });

      test("shows its records as they arrive, as a scan shows them later, and knows their bytes", async () => {
        await fill();
        const shown = new Map<string, string>();
        const copy = await receive(await chunksOf(state), {
          onRecord: (key, value) => void shown.set(toHex(key), Buffer.from(value).toString()),
        });
        const { recordBytes } = copy;
        expect(shown).toEqual(await scan(copy));
        expect(recordBytes).toBe(copy.recordBytes);
        expect(recordBytes).toBeGreaterThan(200_000);
      });

      test("an unflushed write does not travel", async () => {
        state.write(lease(2), text("later"));
        expect((await scan(await receive(await chunksOf(state)))).has("0202")).toBe(false);
      });

      test.each<[string, (chunks: Uint8Array[]) => readonly Uint8Array[]]>([
        ["without its end", (chunks) => chunks.slice(0, -1)],
        ["with a chunk missing", (chunks) => [...chunks.slice(0, 2), ...chunks.slice(3)]],
        ["with a chunk twice", (chunks) => [...chunks.slice(0, 3), ...chunks.slice(2)]],
        ["with two chunks swapped", ([a, b, ...rest]) => [b!, a!, ...rest]],
        ["with something behind its end", (chunks) => [...chunks, chunks[0]!]],
        [
          "with a wrong byte",
          ([a, ...rest]) => [Uint8Array.from(a!, (byte, i) => (i === 99 ? byte ^ 4 : byte)), ...rest],
        ],
        ["with a chunk cut short", ([a, ...rest]) => [a!.subarray(0, 9), ...rest]],
        ["that is empty", () => []],
      ])("%s is refused, and leaves nothing behind", async (_what, change) => {
        await fill();
        await expect(receive(change(await chunksOf(state)))).rejects.toMatchObject({ code: "INVALID_REQUEST" });
      });

      test("a chunk of another session is refused, another place too", async () => {
        const chunks = await chunksOf(state);
        await expect(receive(chunks, { session: 5 })).rejects.toMatchObject({ code: "INVALID_REQUEST" });
        await expect(receive(chunks, { index: 6 })).rejects.toMatchObject({ code: "INVALID_REQUEST" });
        await expect(receive(chunks, { term: 2 })).rejects.toMatchObject({ code: "INVALID_REQUEST" });
        await receive(chunks);
      });

      test("a chunk of a newer version is refused by name", async () => {
        const [first] = await chunksOf(state);
        const newer = first!.slice();
        newer[4] = 2;
        new DataView(newer.buffer).setUint32(0, crc32(newer.subarray(4)));
        await expect(receive([newer])).rejects.toMatchObject({ code: "FORMAT_TOO_NEW" });
      });

      test("records that are out of order, too many or damaged are refused, though each chunk is whole", async () => {
        await state.close();
        const database = await disk.openDatabase("state-1", { create: false });
        await database.batch([{ kind: "put", key: lease(8), value: sealRecord(lease(8), text("x"), checksum) }], {
          sync: true,
        });
        await database.close();
        state = await open();
        await expect(receive(await chunksOf(state))).rejects.toMatchObject({ code: "INVALID_REQUEST" });
      });

      test("what an earlier attempt left is cleared away, what is open is left alone", async () => {
        const chunks = await chunksOf(state);
        const half = await SnapshotReceiver.begin(disk, { generation: 2, session: 1, at: at(5, 1), checksum });
        await half.chunk((await chunksOf(state, 1))[0]!);
        // It was never aborted, and its database is not open any more: as after a crash.
        await half.abort();
        await disk.makeDirectory("state-3");
        await disk.makeDirectory("state-2.part.new");
        const second = await receive(chunks);
        expect(second.generation).toBe(2);
        expect(await disk.list("")).toEqual(["state-1", "state-2"]);
        const third = await receive(chunks);
        expect(third.generation).toBe(3);
        expect(await scan(second)).toEqual(await scan(third));
      });
    });

    test("golden bytes of a record", () => {
      const stored = sealRecord(lease(1), text("first"), checksum);
      expect(toHex(stored)).toBe("95fc04b86669727374");
      expect(openRecord(lease(1), stored, checksum)).toEqual(text("first"));
      expect(openRecord(lease(2), stored, checksum)).toBeUndefined();
    });
  });
}
