/**
 * Keys and values of the load generators: 32 bytes, spread over the whole space, named by a number, so that what one process
 * wrote another can read. bench/etcd-load/keys.go makes the same ones. A generator shares its processor with what it
 * measures, so each is a few look-ups in a table.
 */

const HEX4: readonly string[] = Array.from({ length: 65_536 }, (_, i) => i.toString(16).padStart(4, "0"));
const DIRECTORY_KEYS = 100;

/** Mixes all bits of a number (the finalizer of MurmurHash3): neighbours lie far apart. */
function mix(i: number): number {
  let h = i >>> 0;
  h = Math.imul(h ^ (h >>> 16), 0x85eb_ca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2_ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** Twelve digits: numbers up to 2^48. */
function digits(i: number): string {
  const low = i >>> 0;
  return HEX4[Math.floor(i / 0x1_0000_0000) & 0xffff]! + HEX4[low >>> 16]! + HEX4[low & 0xffff]!;
}

function prefix(i: number): string {
  const a = mix(i);
  const b = mix(a);
  return HEX4[a >>> 16]! + HEX4[a & 0xffff]! + HEX4[b >>> 16]! + HEX4[b & 0xffff]!;
}

export function keyOf(i: number): string {
  return `${prefix(i)}key/${digits(i)}`;
}

/** A hundred neighbours share all but their numbers. */
export function directoryKeyOf(i: number): string {
  return `${prefix(Math.floor(i / DIRECTORY_KEYS))}dir/${digits(i)}`;
}

/** Those that share a directory with this key: its first possible key, and what follows its last. */
export function directoryOf(i: number): readonly [start: string, end: string] {
  const directory = `${prefix(Math.floor(i / DIRECTORY_KEYS))}dir`;
  return [`${directory}/`, `${directory}0`];
}

/** From 0 up to `below`, which is at most 2^32; costs next to nothing (xorshift32). */
export function generator(seed: number): (below: number) => number {
  let state = mix(seed) || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return Math.floor(((state >>> 0) / 0x1_0000_0000) * below);
  };
}
