/** CRC-32 in pure code: IEEE (records) and Castagnoli (etcd's hashKV). The shell uses zlib's (platform/checksum.ts). */

function table(polynomial: number): Uint32Array {
  const entries = new Uint32Array(256);
  for (let n = 0; n < 256; n++) {
    let c = n;
    for (let k = 0; k < 8; k++) c = c & 1 ? polynomial ^ (c >>> 1) : c >>> 1;
    entries[n] = c >>> 0;
  }
  return entries;
}

const IEEE = table(0xedb88320);
const CASTAGNOLI = table(0x82f63b78);

function update(entries: Uint32Array, bytes: Uint8Array, previous: number): number {
  let c = ~previous;
  for (let i = 0; i < bytes.length; i++) c = entries[(c ^ bytes[i]!) & 0xff]! ^ (c >>> 8);
  return ~c >>> 0;
}

/** Chained: `crc32(b, crc32(a))` equals `crc32(ab)`. Same values as `zlib.crc32`. */
export function crc32(bytes: Uint8Array, previous = 0): number {
  return update(IEEE, bytes, previous);
}

export function crc32c(bytes: Uint8Array, previous = 0): number {
  return update(CASTAGNOLI, bytes, previous);
}
