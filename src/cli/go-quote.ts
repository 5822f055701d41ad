/** Go's way of quoting, which etcdctl's output and input follow: double quotes, and escapes for what cannot be printed. */
import { decodeUtf8, encodeUtf8 } from "../base/bytes.ts";

const SHORT: Readonly<Record<string, string>> = {
  "\u0007": "\\a",
  "\b": "\\b",
  "\f": "\\f",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\v": "\\v",
  "\\": "\\\\",
  '"': '\\"',
};

/** What Go takes for printable: letters, marks, numbers, punctuation, symbols, and of the spaces the plain one. */
const PRINTABLE = /^[\p{L}\p{M}\p{N}\p{P}\p{S} ]$/u;

export function quote(bytes: Uint8Array): string {
  let text = '"';
  for (let at = 0; at < bytes.length; ) {
    const length = sequenceLength(bytes, at);
    if (length === 0) {
      text += `\\x${bytes[at]!.toString(16).padStart(2, "0")}`;
      at += 1;
      continue;
    }
    text += quoteCharacter(decodeUtf8(bytes.subarray(at, at + length)));
    at += length;
  }
  return `${text}"`;
}

export function quoteText(text: string): string {
  return quote(encodeUtf8(text));
}

function quoteCharacter(character: string): string {
  const short = SHORT[character];
  if (short !== undefined) return short;
  if (PRINTABLE.test(character)) return character;
  const code = character.codePointAt(0)!;
  if (code < 0x20 || code === 0x7f) return `\\x${code.toString(16).padStart(2, "0")}`;
  return code < 0x1_0000 ? `\\u${code.toString(16).padStart(4, "0")}` : `\\U${code.toString(16).padStart(8, "0")}`;
}

/** Bytes of the UTF-8 sequence that begins here; 0 if none does. */
function sequenceLength(bytes: Uint8Array, at: number): number {
  const first = bytes[at]!;
  if (first < 0x80) return 1;
  const length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc2 ? 2 : 0;
  if (length === 0 || first > 0xf4 || at + length > bytes.length) return 0;
  const sequence = bytes.subarray(at, at + length);
  // Overlong forms and surrogates decode to the replacement character, which has a form of its own.
  const decoded = decodeUtf8(sequence);
  const valid = [...decoded].length === 1 && (decoded !== "\ufffd" || isReplacementItself(sequence));
  return valid ? length : 0;
}

function isReplacementItself(sequence: Uint8Array): boolean {
  return sequence.length === 3 && sequence[0] === 0xef && sequence[1] === 0xbf && sequence[2] === 0xbd;
}

const ESCAPES: Readonly<Record<string, number>> = {
  a: 0x07,
  b: 0x08,
  f: 0x0c,
  n: 0x0a,
  r: 0x0d,
  t: 0x09,
  v: 0x0b,
  "\\": 0x5c,
  '"': 0x22,
};
/** Escapes with digits: how many, in which base, and whether they give one byte or a character. */
const NUMERIC: Readonly<Record<string, { readonly digits: number; readonly byte: boolean }>> = {
  x: { digits: 2, byte: true },
  u: { digits: 4, byte: false },
  U: { digits: 8, byte: false },
};

/**
 * Reads the quoted text that begins at `start` with `"`. Gives its bytes and the place behind its closing quote;
 * `undefined` if it is not one.
 */
export function unquote(text: string, start: number): { readonly bytes: Uint8Array; readonly end: number } | undefined {
  if (text[start] !== '"') return undefined;
  const parts: number[] = [];
  for (let at = start + 1; at < text.length; ) {
    const character = String.fromCodePoint(text.codePointAt(at)!);
    if (character === '"') return { bytes: Uint8Array.from(parts), end: at + 1 };
    if (character === "\n") return undefined;
    if (character !== "\\") {
      parts.push(...encodeUtf8(character));
      at += character.length;
      continue;
    }
    const escaped = readEscape(text, at + 1);
    if (escaped === undefined) return undefined;
    parts.push(...escaped.bytes);
    at = escaped.end;
  }
  return undefined;
}

function readEscape(text: string, at: number): { readonly bytes: Iterable<number>; readonly end: number } | undefined {
  const letter = text[at] ?? "";
  const simple = ESCAPES[letter];
  if (simple !== undefined) return { bytes: [simple], end: at + 1 };
  if (/^[0-3]$/.test(letter)) {
    const octal = text.slice(at, at + 3);
    return /^[0-3][0-7]{2}$/.test(octal) ? { bytes: [Number.parseInt(octal, 8)], end: at + 3 } : undefined;
  }
  const numeric = NUMERIC[letter];
  if (numeric === undefined) return undefined;
  const end = at + 1 + numeric.digits;
  const digits = text.slice(at + 1, end);
  if (digits.length !== numeric.digits || !/^[0-9a-fA-F]+$/.test(digits)) return undefined;
  const code = Number.parseInt(digits, 16);
  if (numeric.byte) return { bytes: [code], end };
  if (code > 0x10_ffff || (code >= 0xd800 && code < 0xe000)) return undefined;
  return { bytes: encodeUtf8(String.fromCodePoint(code)), end };
}
