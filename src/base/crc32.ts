/** CRC-32 in pure code: IEEE (records) and Castagnoli (etcd's hashKV, LevelDB's tables). The shell uses zlib's for IEEE. */

/** Eight tables, so that eight bytes take one step: three times the speed of one table. */
type Tables = readonly [
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
];

function tables(polynomial: number): Tables {
  const first = new Uint32Array(256);
  for (let n = 0; n < 256; n++) {
    let c = n;
    for (let k = 0; k < 8; k++) c = c & 1 ? polynomial ^ (c >>> 1) : c >>> 1;
    first[n] = c >>> 0;
  }
  /** What each byte does once another zero byte has followed it. */
  const after = (table: Uint32Array): Uint32Array => table.map((c) => first[c & 0xff]! ^ (c >>> 8));
  const second = after(first);
  const third = after(second);
  const fourth = after(third);
  const fifth = after(fourth);
  const sixth = after(fifth);
  const seventh = after(sixth);
  return [first, second, third, fourth, fifth, sixth, seventh, after(seventh)];
}

const IEEE = tables(0xedb88320);
const CASTAGNOLI = tables(0x82f63b78);

function update([t0, t1, t2, t3, t4, t5, t6, t7]: Tables, bytes: Uint8Array, previous: number): number {
  let c = ~previous;
  let i = 0;
  for (const end = bytes.length - 7; i < end; i += 8) {
    c ^= bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24);
    c =
      t7[c & 0xff]! ^
      t6[(c >>> 8) & 0xff]! ^
      t5[(c >>> 16) & 0xff]! ^
      t4[c >>> 24]! ^
      t3[bytes[i + 4]!]! ^
      t2[bytes[i + 5]!]! ^
      t1[bytes[i + 6]!]! ^
      t0[bytes[i + 7]!]!;
  }
  for (; i < bytes.length; i++) c = t0[(c ^ bytes[i]!) & 0xff]! ^ (c >>> 8);
  return ~c >>> 0;
}

/** Chained: `crc32(b, crc32(a))` equals `crc32(ab)`. Same values as `zlib.crc32`. */
export function crc32(bytes: Uint8Array, previous = 0): number {
  return update(IEEE, bytes, previous);
}

export function crc32c(bytes: Uint8Array, previous = 0): number {
  return update(CASTAGNOLI, bytes, previous);
}
