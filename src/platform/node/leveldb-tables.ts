/**
 * Checks a LevelDB database's tables before LevelDB opens it. LevelDB writes a checksum behind each block of a table, but
 * the binding leaves its "paranoid checks" off, and then a wrong byte is not only served: in a filter or an index it
 * hides keys from look-ups, and in a key it ends the process at each start, by an assertion in LevelDB's compaction. Logs
 * need no help: LevelDB verifies their checksums, and what it drops is noticed above.
 *
 * The formats are LevelDB's: doc/log_format.md, doc/table_format.md and VersionEdit. What is malformed in a way that
 * LevelDB itself refuses is left to it.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { crc32c } from "../../base/crc32.ts";

const LOG_BLOCK_BYTES = 32_768;
const LOG_HEAD_BYTES = 7;
const PART = { whole: 1, first: 2, middle: 3, last: 4 } as const;
const FOOTER_BYTES = 48;
const MAGIC = 0xdb4775248b80fb57n;
const MASK = 0xa282ead8;
/** Checked in one go: about 1 ms of the loop. */
const SLICE_BYTES = 1 << 20;

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Table number -> its size in bytes. */
type Tables = ReadonlyMap<number, number>;

/** What is wrong, in words; `undefined` if all tables that belong to the database are whole. */
export async function findTableDamage(directory: string): Promise<string | undefined> {
  const manifest = await readManifest(directory);
  if (manifest === undefined) return undefined;
  const damage = await damageOf(directory, tablesOf(manifest));
  if (damage === undefined) return undefined;
  // A process that has it open may have deleted what was looked at: then its index has moved on, and its lock answers.
  const again = await readManifest(directory);
  return again?.equals(manifest) ? damage : undefined;
}

async function readManifest(directory: string): Promise<Buffer | undefined> {
  try {
    const current = /^(MANIFEST-\d+)\n$/.exec(await readFile(join(directory, "CURRENT"), "latin1"));
    return current === null ? undefined : await readFile(join(directory, current[1]!));
  } catch {
    return undefined;
  }
}

/** The tables that the index names, or as many as can be read of it. */
function tablesOf(manifest: Uint8Array): Tables {
  const tables = new Map<number, number>();
  try {
    for (const edit of logRecords(manifest)) applyEdit(edit, tables);
  } catch {
    // LevelDB refuses it, and says why.
  }
  return tables;
}

function* logRecords(log: Uint8Array): Generator<Uint8Array> {
  const view = new DataView(log.buffer, log.byteOffset, log.byteLength);
  let parts: Uint8Array[] = [];
  for (let block = 0; block < log.length; block += LOG_BLOCK_BYTES) {
    const end = Math.min(block + LOG_BLOCK_BYTES, log.length);
    let at = block;
    while (at + LOG_HEAD_BYTES <= end) {
      const length = view.getUint16(at + 4, true);
      const type = log[at + 6]!;
      const from = at + LOG_HEAD_BYTES;
      // Zeros fill a block; a record that its writer did not finish ends the log.
      if ((type === 0 && length === 0) || from + length > end) break;
      if (!matches(log.subarray(at + 6, from + length), view.getUint32(at, true))) throw new RangeError("checksum");
      if (type === PART.whole || type === PART.first) parts = [];
      parts.push(log.subarray(from, from + length));
      if (type === PART.whole || type === PART.last) yield Buffer.concat(parts);
      at = from + length;
    }
  }
}

/** Fields by their tags. Tables are what matters here, the rest is read over. */
function applyEdit(edit: Uint8Array, tables: Map<number, number>): void {
  const reader = new Reader(edit);
  while (!reader.ended) {
    const tag = reader.number();
    switch (tag) {
      case 1: // comparator
        reader.skip(reader.number());
        break;
      case 2: // log number
      case 3: // next file number
      case 4: // last sequence
      case 9: // previous log number
        reader.number();
        break;
      case 5: // where a level's next compaction begins
        reader.number();
        reader.skip(reader.number());
        break;
      case 6: // deleted table
        reader.number();
        tables.delete(reader.number());
        break;
      case 7: {
        reader.number();
        const number = reader.number();
        tables.set(number, reader.number());
        reader.skip(reader.number());
        reader.skip(reader.number());
        break;
      }
      default:
        throw new RangeError("unknown tag");
    }
  }
}

async function damageOf(directory: string, tables: Tables): Promise<string | undefined> {
  for (const [number, size] of tables) {
    const name = `${String(number).padStart(6, "0")}.ldb`;
    const bytes = await readFile(join(directory, name)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return undefined;
      throw error;
    });
    if (bytes === undefined) return `its table ${name} is missing`;
    if (bytes.length !== size) return `its table ${name} has ${bytes.length} bytes instead of ${size}`;
    const damaged = await damagedBlock(bytes);
    if (damaged !== undefined) return `its table ${name} is damaged at byte ${damaged}`;
  }
  return undefined;
}

/** Where the first block stands whose checksum does not match. */
async function damagedBlock(table: Uint8Array): Promise<number | undefined> {
  const footer = table.length - FOOTER_BYTES;
  if (footer < 0) return 0;
  const view = new DataView(table.buffer, table.byteOffset, table.byteLength);
  if (view.getBigUint64(table.length - 8, true) !== MAGIC) return table.length - 8;
  try {
    const reader = new Reader(table.subarray(footer));
    const metaIndex = reader.handle();
    const index = reader.handle();
    if (!isWhole(table, view, index)) return index.offset;
    if (!isWhole(table, view, metaIndex)) return metaIndex.offset;
    let slice = 0;
    for (const block of [metaIndex, index].flatMap((one) => handlesIn(table, view, one))) {
      if (!isWhole(table, view, block)) return block.offset;
      slice += block.size;
      if (slice < SLICE_BYTES) continue;
      slice = 0;
      await turn();
    }
    return undefined;
  } catch (error) {
    if (error instanceof RangeError) return footer;
    throw error;
  }
}

interface Handle {
  readonly offset: number;
  readonly size: number;
}

function isWhole(table: Uint8Array, view: DataView, { offset, size }: Handle): boolean {
  const end = offset + size + 1;
  if (end + 4 > table.length) return false;
  return matches(table.subarray(offset, end), view.getUint32(end, true));
}

/** An index's values: places of other blocks. Its keys share prefixes, which nobody needs here. */
function handlesIn(table: Uint8Array, view: DataView, { offset, size }: Handle): Handle[] {
  const restarts = view.getUint32(offset + size - 4, true);
  const reader = new Reader(table.subarray(offset, offset + size - 4 - 4 * restarts));
  const found: Handle[] = [];
  while (!reader.ended) {
    reader.number();
    const keyBytes = reader.number();
    reader.number();
    reader.skip(keyBytes);
    found.push(reader.handle());
  }
  return found;
}

/** LevelDB stores checksums masked, because it takes checksums of bytes that hold some. */
function matches(bytes: Uint8Array, masked: number): boolean {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + MASK) >>> 0 === masked;
}

/** Throws `RangeError` at the end of the bytes. */
class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get ended(): boolean {
    return this.#at >= this.#bytes.length;
  }

  /** Seven bits a byte, the low ones first. */
  number(): number {
    let value = 0;
    for (let scale = 1; scale < 2 ** 56; scale *= 128) {
      const byte = this.#bytes[this.#at++];
      if (byte === undefined) break;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    throw new RangeError("not a number");
  }

  handle(): Handle {
    return { offset: this.number(), size: this.number() };
  }

  skip(count: number): void {
    this.#at += count;
    if (this.#at > this.#bytes.length) throw new RangeError("it ends early");
  }
}
