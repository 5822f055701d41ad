/** CRC-32 (IEEE) for the shell, chained as `crc32(b, crc32(a))`. Node's half is zlib's, three times the pure one's speed. */
export type Checksum = (bytes: Uint8Array, previous?: number) => number;
