/** Keys and range ends as etcdctl's `get` and `del` read them from their arguments. */
import { encodeUtf8 } from "../base/bytes.ts";
import { fail } from "./exit.ts";

export interface KeyArguments {
  readonly key: Uint8Array;
  readonly rangeEnd?: Uint8Array | undefined;
}

/** One zero byte: as a key the lowest there is, as a range end "from the key on". */
const ZERO = new Uint8Array(1);

/** The first key after every key that begins with `prefix`: its last byte below 0xff, plus one (etcd-semantics 1.3). */
export function prefixEnd(prefix: Uint8Array): Uint8Array {
  for (let i = prefix.length - 1; i >= 0; i--) {
    const byte = prefix[i]!;
    if (byte < 0xff) {
      const end = prefix.slice(0, i + 1);
      end[i] = byte + 1;
      return end;
    }
  }
  return ZERO;
}

export function keyArguments(
  command: string,
  keyText: string,
  rangeEnd: string | undefined,
  options: { readonly prefix?: boolean | undefined; readonly fromKey?: boolean | undefined },
): KeyArguments {
  const { prefix = false, fromKey = false } = options;
  if (prefix && fromKey) fail("badArguments", "`--prefix` and `--from-key` cannot be set at the same time, choose one");
  if (rangeEnd !== undefined && (prefix || fromKey)) {
    fail(
      "badArguments",
      `too many arguments, only accept one argument when \`--prefix\` or \`--from-key\` is set (${command})`,
    );
  }
  const key = encodeUtf8(keyText);
  if (!prefix && !fromKey) return { key, rangeEnd: rangeEnd === undefined ? undefined : encodeUtf8(rangeEnd) };
  // An empty key with either flag means the whole space.
  if (key.length === 0) return { key: ZERO, rangeEnd: ZERO };
  return { key, rangeEnd: prefix ? prefixEnd(key) : ZERO };
}
