/**
 * What members tell each other in the handshake about their data (design section 6). A member that comes back empty
 * may have promised things it no longer knows; whoever once saw it with data remembers that durably and says so.
 */
import { readCounter, viewOf } from "../base/bytes.ts";
import { type MemberId, memberId } from "../base/ids.ts";

export interface Hello {
  /** The sender has a data directory. */
  readonly holdsData: boolean;
  /** Members the sender has seen with data. */
  readonly noted: readonly MemberId[];
}

const VERSION = 1;

export function encodeHello(hello: Hello): Uint8Array {
  const bytes = new Uint8Array(2 + 8 * hello.noted.length);
  const view = viewOf(bytes);
  bytes[0] = VERSION;
  bytes[1] = hello.holdsData ? 1 : 0;
  hello.noted.forEach((id, i) => {
    view.setBigUint64(2 + 8 * i, id);
  });
  return bytes;
}

/** Throws `RangeError` on anything that `encodeHello` could not have made. */
export function decodeHello(bytes: Uint8Array): Hello {
  if (bytes.length < 2 || (bytes.length - 2) % 8 !== 0 || bytes[0] !== VERSION || bytes[1]! > 1) {
    throw new RangeError("malformed hello");
  }
  const view = viewOf(bytes);
  const noted: MemberId[] = [];
  for (let at = 2; at < bytes.length; at += 8) noted.push(memberId(view.getBigUint64(at)));
  return { holdsData: bytes[1] === 1, noted };
}

/** A snapshot stream's first frame. The configuration's bytes follow. */
export interface SnapshotHeader {
  readonly term: number;
  readonly session: number;
  readonly index: number;
  readonly snapshotTerm: number;
  readonly conf: Uint8Array;
}

export function encodeSnapshotHeader(header: SnapshotHeader): Uint8Array {
  const bytes = new Uint8Array(33 + header.conf.length);
  const view = viewOf(bytes);
  bytes[0] = VERSION;
  [header.term, header.session, header.index, header.snapshotTerm].forEach((n, i) => {
    view.setBigUint64(1 + 8 * i, BigInt(n));
  });
  bytes.set(header.conf, 33);
  return bytes;
}

export function decodeSnapshotHeader(bytes: Uint8Array): SnapshotHeader {
  if (bytes.length < 33 || bytes[0] !== VERSION) throw new RangeError("malformed snapshot header");
  const view = viewOf(bytes);
  return {
    term: readCounter(view, 1),
    session: readCounter(view, 9),
    index: readCounter(view, 17),
    snapshotTerm: readCounter(view, 25),
    conf: bytes.slice(33),
  };
}
