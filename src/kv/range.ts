/** What a key and a range end mean together (etcd-semantics 1.3). */
import { toByteString } from "../base/bytes.ts";
import { TOP } from "./sorted-map.ts";

/** Keys from `low` up to, not including, `high`. `single`: the key `low` alone. */
export interface Span {
  readonly single: boolean;
  readonly low: string;
  readonly high: string;
}

/** One zero byte as a range end: no upper bound. */
export const TO_THE_END: Uint8Array = Uint8Array.of(0);

/**
 *    key, no end    ->  that key alone
 *    key, "\0"      ->  everything from the key on
 *    key, end       ->  [key, end), nothing if the end is not above the key
 */
export function spanOf(key: Uint8Array, rangeEnd: Uint8Array | undefined): Span {
  const low = toByteString(key);
  if (rangeEnd === undefined || rangeEnd.length === 0) return { single: true, low, high: low };
  if (rangeEnd.length === 1 && rangeEnd[0] === 0) return { single: false, low, high: TOP };
  return { single: false, low, high: toByteString(rangeEnd) };
}

/** `spanOf` would say `single`. */
export function isOneKey({ rangeEnd }: { readonly rangeEnd?: Uint8Array | undefined }): boolean {
  return rangeEnd === undefined || rangeEnd.length === 0;
}

/** The range end that makes a range of all keys beginning with `prefix` (whose key, if empty, is one zero byte). */
export function prefixEnd(prefix: Uint8Array): Uint8Array {
  for (let last = prefix.length - 1; last >= 0; last--) {
    if (prefix[last]! < 0xff) {
      const end = prefix.slice(0, last + 1);
      end[last]! += 1;
      return end;
    }
  }
  return TO_THE_END;
}

/** Key and range end of all keys beginning with `prefix`. */
export function prefixRange(prefix: Uint8Array): { readonly key: Uint8Array; readonly rangeEnd: Uint8Array } {
  return { key: prefix.length === 0 ? TO_THE_END : prefix, rangeEnd: prefixEnd(prefix) };
}
