/**
 * The text of a transaction, as etcdctl reads it (etcd-semantics section 14.4): three blocks, compares, operations for
 * success and operations for failure, each ended by an empty line.
 *
 *    value("a") = "1"
 *
 *    put a "new value"
 *
 *    get a --prefix
 *
 * Errors are one line that shows what was not understood.
 */
import { encodeUtf8 } from "../base/bytes.ts";
import { leaseId } from "../base/ids.ts";
import type {
  Compare,
  CompareResult,
  DeleteRangeRequest,
  PutRequest,
  RangeRequest,
  RequestOp,
  SortOrder,
  SortTarget,
  TxnRequest,
} from "../protocol/requests.ts";
import { quote, unquote } from "./go-quote.ts";
import { prefixEnd } from "./range.ts";

export function parseTxn(text: string): TxnRequest {
  const lines = text.split("\n");
  // What follows the last line break is no line: a block must be ended by an empty one.
  lines.pop();
  const blocks = new TxnBlocks();
  for (const line of lines) {
    blocks.line(line);
    if (blocks.ended === 3) break;
  }
  return blocks.request();
}

/** The three blocks, line by line. Blanks around a line, or alone on it, do not count. */
export class TxnBlocks {
  /** Blocks that were ended. */
  ended = 0;
  readonly #compare: Compare[] = [];
  readonly #success: RequestOp[] = [];
  readonly #failure: RequestOp[] = [];

  /** Throws on a line that is not understood. */
  line(line: string): void {
    const trimmed = line.trim();
    if (trimmed === "") this.ended += 1;
    else if (this.ended === 0) this.#compare.push(parseCompare(trimmed));
    else if (this.ended === 1) this.#success.push(parseOperation(trimmed));
    else this.#failure.push(parseOperation(trimmed));
  }

  /** Throws unless all three were ended. */
  request(): TxnRequest {
    if (this.ended < 3) {
      throw new Error(
        "unexpected end of input: compares, success requests and failure requests each end with an empty line",
      );
    }
    return { kind: "txn", compare: this.#compare, success: this.#success, failure: this.#failure };
  }
}

// --- compares ---

const RESULTS: Readonly<Record<string, CompareResult>> = {
  "=": "equal",
  "!=": "notEqual",
  ">": "greater",
  "<": "less",
};

/** `target("key") operator "value"`, both in quotes whatever the target is. */
function parseCompare(line: string): Compare {
  const malformed = (why: string): Error => new Error(`malformed comparison: ${line} (${why})`);
  const open = line.indexOf("(");
  if (open < 0) throw malformed("a key in parentheses is missing");
  const target = line.slice(0, open);
  const key = unquote(line, open + 1);
  if (key === undefined) throw malformed("the key must be in double quotes");
  const rest = /^\s*\)\s*(\S+)\s+/.exec(line.slice(key.end));
  if (rest === null) throw malformed("an operator and a value are missing");
  const result = Object.hasOwn(RESULTS, rest[1]!) ? RESULTS[rest[1]!] : undefined;
  if (result === undefined) throw malformed(`unknown operator ${rest[1]}, choose =, !=, < or >`);
  const value = unquote(line, key.end + rest[0].length);
  if (value === undefined || value.end !== line.length) throw malformed("the value must be in double quotes");
  const common = { key: key.bytes, result };
  const number = (): number => {
    const digits = new TextDecoder().decode(value.bytes);
    const parsed = Number(digits);
    if (!/^[+-]?[0-9]+$/.test(digits) || !Number.isSafeInteger(parsed)) {
      throw new Error(`invalid txn compare request: ${line} (${quote(value.bytes)} is not a whole number)`);
    }
    return parsed;
  };
  switch (target) {
    case "ver":
    case "version":
      return { ...common, target: "version", version: number() };
    case "c":
    case "create":
      return { ...common, target: "create", createRevision: number() };
    case "m":
    case "mod":
      return { ...common, target: "mod", modRevision: number() };
    case "val":
    case "value":
      return { ...common, target: "value", value: value.bytes };
    case "lease": {
      const lease = parseLease(new TextDecoder().decode(value.bytes));
      if (lease === undefined) {
        throw new Error(`invalid txn compare request: ${line} (${quote(value.bytes)} is not a hexadecimal lease id)`);
      }
      return { ...common, target: "lease", lease };
    }
    default:
      throw malformed(`unknown target ${target}`);
  }
}

function parseLease(text: string): PutRequest["lease"] {
  return /^[0-9a-fA-F]{1,16}$/.test(text) ? leaseId(BigInt.asIntN(64, BigInt(`0x${text}`))) : undefined;
}

// --- operations ---

/** A word of a line: its bytes, for keys and values need not be text, and its text, for flags. */
interface Word {
  readonly text: string;
  readonly bytes: Uint8Array;
}

type FlagKind = "switch" | "word" | "number";

const SELECTION = { prefix: "switch", "from-key": "switch" } as const satisfies Record<string, FlagKind>;
/** The flags of the commands of the same names. */
const FLAGS: Readonly<Record<"put" | "get" | "del", Readonly<Record<string, FlagKind>>>> = {
  put: { lease: "word", "prev-kv": "switch", "ignore-value": "switch", "ignore-lease": "switch" },
  get: {
    ...SELECTION,
    consistency: "word",
    order: "word",
    "sort-by": "word",
    limit: "number",
    rev: "number",
    "keys-only": "switch",
    "count-only": "switch",
    "print-value-only": "switch",
    "min-create-rev": "number",
    "max-create-rev": "number",
    "min-mod-rev": "number",
    "max-mod-rev": "number",
  },
  del: { ...SELECTION, range: "switch", "prev-kv": "switch" },
};

class Arguments {
  readonly words: readonly Word[];
  readonly #flags: ReadonlyMap<string, string>;

  constructor(words: readonly Word[], flags: ReadonlyMap<string, string>) {
    this.words = words;
    this.#flags = flags;
  }

  /** `undefined` unless set. */
  on(name: string): true | undefined {
    return this.#flags.get(name) === "true" ? true : undefined;
  }

  word(name: string): string | undefined {
    return this.#flags.get(name);
  }

  number(name: string): number | undefined {
    const text = this.#flags.get(name);
    return text === undefined ? undefined : Number(text);
  }
}

function parseOperation(line: string): RequestOp {
  try {
    const [name, ...words] = wordsOf(line);
    switch (name?.text) {
      case "put":
        return parsePut(parseArguments("put", words));
      case "get":
        return parseGet(parseArguments("get", words));
      case "del":
        return parseDel(parseArguments("del", words));
      default:
        throw new Error("choose put, get or del");
    }
  } catch (error) {
    throw new Error(`invalid txn request: ${line} (${(error as Error).message})`);
  }
}

/** Words are separated by blanks; "…" holds Go's escapes, '…' is taken as it is. */
function wordsOf(line: string): Word[] {
  const words: Word[] = [];
  for (let at = 0; at < line.length; ) {
    const character = line[at]!;
    if (/\s/.test(character)) {
      at += 1;
    } else if (character === '"') {
      const quoted = unquote(line, at);
      if (quoted === undefined) throw new Error("a double quote is not closed, or an escape in it is unknown");
      words.push({ text: new TextDecoder().decode(quoted.bytes), bytes: quoted.bytes });
      at = quoted.end;
    } else if (character === "'") {
      const end = line.indexOf("'", at + 1);
      if (end < 0) throw new Error("a single quote is not closed");
      words.push(plainWord(line.slice(at + 1, end)));
      at = end + 1;
    } else {
      const end = /\s|$/.exec(line.slice(at))!.index + at;
      words.push(plainWord(line.slice(at, end)));
      at = end;
    }
  }
  return words;
}

function plainWord(text: string): Word {
  return { text, bytes: encodeUtf8(text) };
}

function parseArguments(command: keyof typeof FLAGS, words: readonly Word[]): Arguments {
  const known = FLAGS[command];
  const rest: Word[] = [];
  const flags = new Map<string, string>();
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!;
    if (word.text === "--") {
      rest.push(...words.slice(i + 1));
      break;
    }
    if (!word.text.startsWith("--")) {
      if (/^-./.test(word.text)) throw new Error(`unknown flag ${word.text}`);
      rest.push(word);
      continue;
    }
    const equals = word.text.indexOf("=");
    const name = word.text.slice(2, equals < 0 ? undefined : equals);
    const kind = Object.hasOwn(known, name) ? known[name] : undefined;
    if (kind === undefined) throw new Error(`unknown flag --${name}`);
    let value = equals < 0 ? undefined : word.text.slice(equals + 1);
    if (value === undefined) value = kind === "switch" ? "true" : words[++i]?.text;
    if (value === undefined) throw new Error(`--${name} needs a value`);
    if (kind === "switch" && value !== "true" && value !== "false") throw new Error(`--${name} is true or false`);
    if (kind === "number" && (!/^-?[0-9]+$/.test(value) || !Number.isSafeInteger(Number(value)))) {
      throw new Error(`--${name} needs a whole number`);
    }
    flags.set(name, value);
  }
  return new Arguments(rest, flags);
}

function parsePut(args: Arguments): PutRequest {
  const [key, value, ...more] = args.words;
  const ignoreValue = args.on("ignore-value");
  if (key === undefined) throw new Error("put needs a key");
  if (ignoreValue === true && value !== undefined) throw new Error("with --ignore-value put takes a key alone");
  if (ignoreValue !== true && value === undefined) throw new Error("put needs a key and a value");
  if (more.length > 0) throw new Error("put takes a key and a value");
  const word = args.word("lease");
  const lease = word === undefined ? undefined : parseLease(word);
  if (word !== undefined && lease === undefined) throw new Error(`bad lease ID ${word}, expecting ID in hexadecimal`);
  return {
    kind: "put",
    key: key.bytes,
    value: value?.bytes ?? new Uint8Array(),
    lease,
    prevKv: args.on("prev-kv"),
    ignoreValue,
    ignoreLease: args.on("ignore-lease"),
  };
}

/** One zero byte: as a key the lowest there is, as a range end "from the key on". */
const ZERO = new Uint8Array(1);

function parseRange(args: Arguments): { readonly key: Uint8Array; readonly rangeEnd: Uint8Array | undefined } {
  const [key, rangeEnd, ...more] = args.words;
  const prefix = args.on("prefix") === true;
  const fromKey = args.on("from-key") === true;
  if (key === undefined) throw new Error("a key is missing");
  if (prefix && fromKey) throw new Error("--prefix and --from-key exclude each other");
  if (more.length > 0 || (rangeEnd !== undefined && (prefix || fromKey))) throw new Error("too many arguments");
  if (!prefix && !fromKey) return { key: key.bytes, rangeEnd: rangeEnd?.bytes };
  if (key.bytes.length === 0) return { key: ZERO, rangeEnd: ZERO };
  return { key: key.bytes, rangeEnd: prefix ? prefixEnd(key.bytes) : ZERO };
}

const ORDERS: Readonly<Record<string, SortOrder>> = { "": "none", ASCEND: "ascend", DESCEND: "descend" };
const TARGETS: Readonly<Record<string, SortTarget>> = {
  "": "key",
  CREATE: "create",
  KEY: "key",
  MODIFY: "mod",
  VALUE: "value",
  VERSION: "version",
};

function parseGet(args: Arguments): RangeRequest {
  const range = parseRange(args);
  const consistency = args.word("consistency") ?? "l";
  if (consistency !== "l" && consistency !== "s") throw new Error(`unknown consistency flag ${consistency}`);
  const order = ORDERS[(args.word("order") ?? "").toUpperCase()];
  if (order === undefined) throw new Error(`bad sort order ${args.word("order")}`);
  const target = TARGETS[(args.word("sort-by") ?? "").toUpperCase()];
  if (target === undefined) throw new Error(`bad sort target ${args.word("sort-by")}`);
  return {
    kind: "range",
    ...range,
    limit: args.number("limit"),
    revision: args.number("rev"),
    sortOrder: target === "key" && order === "ascend" ? "none" : order,
    sortTarget: target,
    serializable: consistency === "s",
    keysOnly: args.on("keys-only"),
    countOnly: args.on("count-only"),
    minModRevision: args.number("min-mod-rev"),
    maxModRevision: args.number("max-mod-rev"),
    minCreateRevision: args.number("min-create-rev"),
    maxCreateRevision: args.number("max-create-rev"),
  };
}

function parseDel(args: Arguments): DeleteRangeRequest {
  return { kind: "deleteRange", ...parseRange(args), prevKv: args.on("prev-kv") };
}
