/** CRC-32 by zlib: the values of `base/crc32.ts`, faster. */
import { crc32 } from "node:zlib";
import type { Checksum } from "../checksum.ts";

export const nodeChecksum: Checksum = (bytes, previous = 0) => crc32(bytes, previous);
