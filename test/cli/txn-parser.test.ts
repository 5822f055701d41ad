import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { encodeUtf8 } from "../../src/base/bytes.ts";
import { leaseId } from "../../src/base/ids.ts";
import { quote, unquote } from "../../src/cli/go-quote.ts";
import { parseTxn } from "../../src/cli/txn-parser.ts";
import { testSeed } from "../support/seed.ts";

const b = encodeUtf8;
const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

const compareOf = (line: string) => parseTxn(`${line}\n\n\n\n`).compare;
const opOf = (line: string) => parseTxn(`\n${line}\n\n\n`).success[0];

test("three blocks, each ended by an empty line; the rest is not looked at", () => {
  const text = '  value("a") = "1" \r\nmod("b") > "2"\n\nput a 2\nget b\n \ndel c\n\nnonsense\n';
  const txn = parseTxn(text);
  expect(txn.compare).toHaveLength(2);
  expect(txn.success.map(({ kind }) => kind)).toEqual(["put", "range"]);
  expect(txn.failure.map(({ kind }) => kind)).toEqual(["deleteRange"]);
});

test("all three may be empty", () => {
  expect(parseTxn("\n\n\n")).toEqual({ kind: "txn", compare: [], success: [], failure: [] });
});

test.each(["", "\n", "\n\n", "\n\nget a\n", "\n\nget a", 'value("a") = "1"'])(
  "input that ends inside a block is an error: %j",
  (text) => {
    expect(() => parseTxn(text)).toThrow("unexpected end of input");
  },
);

describe("compares", () => {
  test.each([
    ['value("a") = "1"', { key: b("a"), result: "equal", target: "value", value: b("1") }],
    ['val("a") != ""', { key: b("a"), result: "notEqual", target: "value", value: b("") }],
    ['version("a") > "1"', { key: b("a"), result: "greater", target: "version", version: 1 }],
    ['ver("a") < "-1"', { key: b("a"), result: "less", target: "version", version: -1 }],
    ['create("a") = "0"', { key: b("a"), result: "equal", target: "create", createRevision: 0 }],
    ['c("a") = "7"', { key: b("a"), result: "equal", target: "create", createRevision: 7 }],
    ['mod("a") = "7"', { key: b("a"), result: "equal", target: "mod", modRevision: 7 }],
    ['m("a") = "7"', { key: b("a"), result: "equal", target: "mod", modRevision: 7 }],
    [
      'lease("a") = "32695410dcc0ca06"',
      { key: b("a"), result: "equal", target: "lease", lease: leaseId(0x32695410dcc0ca06n) },
    ],
    [
      'value("a b\\"(c)\\xff\\n") = "\\u00e9"',
      {
        key: bytes(0x61, 0x20, 0x62, 0x22, 0x28, 0x63, 0x29, 0xff, 0x0a),
        result: "equal",
        target: "value",
        value: b("é"),
      },
    ],
    ['value("a")   =   "1"', { key: b("a"), result: "equal", target: "value", value: b("1") }],
  ])("%s", (line, expected) => {
    expect(compareOf(line)).toEqual([expected]);
  });

  test.each([
    ["no parenthesis", 'value "a" = "1"', "malformed comparison"],
    ["a key without quotes", 'value(a) = "1"', "malformed comparison"],
    ["a key that is not closed", 'value("a) = 1', "malformed comparison"],
    ["a value without quotes", 'value("a") = 1', "malformed comparison"],
    ["more behind the value", 'value("a") = "1" x', "malformed comparison"],
    ["an unknown operator", 'value("a") == "1"', "malformed comparison"],
    ["an operator out of Object's own", 'value("a") constructor "1"', "unknown operator constructor"],
    ["an unknown target", 'size("a") = "1"', "unknown target size"],
    ["a version that is no number", 'version("a") = "x"', "invalid txn compare request"],
    ["a version that is a fraction", 'version("a") = "1.5"', "invalid txn compare request"],
    ["a revision beyond what numbers hold", 'mod("a") = "9007199254740993"', "invalid txn compare request"],
    ["a lease that is not hexadecimal", 'lease("a") = "xyz"', "invalid txn compare request"],
    ["an unknown escape", 'value("\\q") = "1"', "malformed comparison"],
  ])("%s is an error of one line that shows it", (_, line, message) => {
    const error = thrown(() => compareOf(line));
    expect(error.message).toContain(message);
    expect(error.message).toContain(line);
    expect(error.message).not.toContain("\n");
  });
});

describe("put", () => {
  test.each([
    ["put a 1", { key: b("a"), value: b("1") }],
    ['put "a b" \'c "d" \\n\'', { key: b("a b"), value: b('c "d" \\n') }],
    ['put "\\x00\\xff" "\\101\\t"', { key: bytes(0, 0xff), value: b("A\t") }],
    ["put a ''", { key: b("a"), value: b("") }],
    ["put a 1 --lease=7f --prev-kv", { key: b("a"), value: b("1"), lease: leaseId(0x7f), prevKv: true }],
    ["put --lease ffffffffffffffff a 1", { key: b("a"), value: b("1"), lease: leaseId(-1n) }],
    ["put a --ignore-value --ignore-lease", { key: b("a"), value: b(""), ignoreValue: true, ignoreLease: true }],
    ["put -- --a -b", { key: b("--a"), value: b("-b") }],
    ["put a - --prev-kv=false", { key: b("a"), value: b("-") }],
  ])("%s", (line, expected) => {
    expect(opOf(line)).toEqual({ kind: "put", ...expected });
  });
});

describe("get", () => {
  const plain = { kind: "range", key: b("a"), sortOrder: "none", sortTarget: "key", serializable: false };
  test.each([
    ["get a", {}],
    ["get a b", { rangeEnd: b("b") }],
    ["get a --prefix", { rangeEnd: b("b") }],
    ["get '' --prefix", { key: bytes(0), rangeEnd: bytes(0) }],
    ["get a --from-key", { rangeEnd: bytes(0) }],
    ['get "\\xff" --prefix', { key: bytes(0xff), rangeEnd: bytes(0) }],
    ["get a --limit 5 --rev=3 --consistency s", { limit: 5, revision: 3, serializable: true }],
    ["get a --order descend --sort-by VALUE", { sortOrder: "descend", sortTarget: "value" }],
    ["get a --order ASCEND", {}],
    ["get a --sort-by modify", { sortTarget: "mod" }],
    ["get a --keys-only --count-only --print-value-only", { keysOnly: true, countOnly: true }],
    [
      "get a --min-mod-rev 1 --max-mod-rev 2 --min-create-rev 3 --max-create-rev 4",
      { minModRevision: 1, maxModRevision: 2, minCreateRevision: 3, maxCreateRevision: 4 },
    ],
  ])("%s", (line, expected) => {
    expect(opOf(line)).toEqual({ ...plain, ...expected });
  });
});

describe("del", () => {
  test.each([
    ["del a", { key: b("a") }],
    ["del a b --range --prev-kv", { key: b("a"), rangeEnd: b("b"), prevKv: true }],
    ["del a --prefix", { key: b("a"), rangeEnd: b("b") }],
    ["del a --from-key", { key: b("a"), rangeEnd: bytes(0) }],
  ])("%s", (line, expected) => {
    expect(opOf(line)).toEqual({ kind: "deleteRange", ...expected });
  });
});

test.each([
  ["an unknown operation", "move a b"],
  ["a txn", "txn"],
  ["no key", "get"],
  ["put without a value", "put a"],
  ["put with too much", "put a b c"],
  ["put with a value to be ignored", "put a b --ignore-value"],
  ["get with too much", "get a b c"],
  ["prefix with a range end", "get a b --prefix"],
  ["prefix and from-key", "del a --prefix --from-key"],
  ["a flag of another operation", "put a b --prefix"],
  ["a name out of Object's own", "get a --constructor"],
  ["a short flag", "get a -w"],
  ["a flag without its value", "get a --limit"],
  ["a limit that is no number", "get a --limit x"],
  ["a switch that is neither", "get a --prefix=maybe"],
  ["an unknown order", "get a --order sideways"],
  ["an unknown sort target", "get a --sort-by size"],
  ["an unknown consistency", "get a --consistency x"],
  ["a lease that is not hexadecimal", "put a b --lease 0xzz"],
  ["a double quote that is not closed", 'put "a b'],
  ["a single quote that is not closed", "put 'a b"],
  ["an unknown escape", 'put "\\z" b'],
])("%s is an error of one line that shows it", (_, line) => {
  const error = thrown(() => opOf(line));
  expect(error.message).toMatch(/^invalid txn request: /);
  expect(error.message).toContain(line);
  expect(error.message).not.toContain("\n");
});

describe(`Go's quotes (seed ${testSeed()})`, () => {
  test("unquote undoes quote, for any bytes", () => {
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 50 }), fc.string({ unit: "binary" }).map(b)), (value) => {
        const quoted = quote(value);
        expect(quoted).toMatch(/^"[\p{L}\p{M}\p{N}\p{P}\p{S} ]*"$/u);
        expect(unquote(quoted, 0)).toEqual({ bytes: value, end: quoted.length });
      }),
      { seed: testSeed(), numRuns: 500 },
    );
  });

  test("any line is parsed or refused in one line", () => {
    const word = fc.constantFrom(
      ...[
        "put",
        "get",
        "del",
        "a",
        '"',
        "'",
        "\\",
        "--prefix",
        "--limit",
        "=",
        "(",
        ")",
        "value",
        " ",
        "\\x4",
        "\ud800",
      ],
    );
    fc.assert(
      fc.property(
        fc.array(word, { maxLength: 12 }).map((words) => words.join("")),
        (line) => {
          for (const parse of [opOf, compareOf]) {
            try {
              parse(line);
            } catch (error) {
              expect((error as Error).message).not.toContain("\n");
              expect((error as Error).message).toMatch(/invalid txn|malformed comparison/);
            }
          }
        },
      ),
      { seed: testSeed(), numRuns: 1_000 },
    );
  });

  test.each([
    ['"\\U0001F600"', b("😀")],
    ['"\\a\\b\\f\\n\\r\\t\\v\\\\\\""', bytes(7, 8, 12, 10, 13, 9, 11, 92, 34)],
    ['"\\377"', bytes(0xff)],
  ])("%s", (text, expected) => {
    expect(unquote(text, 0)?.bytes).toEqual(expected);
  });

  test.each(['"\\400"', '"\\x4"', '"\\ud800"', '"\\U00110000"', '"\\\'"', '"a', '"a\nb"', "a"])(
    "%j is none",
    (text) => {
      expect(unquote(text, 0)).toBeUndefined();
    },
  );

  test("what cannot be printed or is no UTF-8 is escaped", () => {
    expect(quote(b("\u007f\u0080\u200b\u{e0001}\ufffd"))).toBe('"\\x7f\\u0080\\u200b\\U000e0001\ufffd"');
    expect(quote(bytes(0xc0, 0x80, 0xed, 0xa0, 0x80, 0xf5))).toBe('"\\xc0\\x80\\xed\\xa0\\x80\\xf5"');
  });
});

function thrown(act: () => unknown): Error {
  try {
    act();
  } catch (error) {
    return error as Error;
  }
  return expect.fail("nothing was thrown");
}
