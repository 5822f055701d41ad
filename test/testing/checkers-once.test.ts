import { describe, expect, test } from "vitest";
import { checkExactlyOnce, type OnceEffect, type OnceOperation } from "../../src/testing/index.ts";

const done = (id: string, more: Partial<OnceOperation> = {}): OnceOperation => ({ id, end: "acknowledged", ...more });
const ended = (id: string, end: OnceOperation["end"]): OnceOperation => ({ id, end });
const at = (revision: number, id: string, more: Partial<OnceEffect> = {}): OnceEffect => ({
  revision,
  key: "a",
  id,
  ...more,
});

describe("checkExactlyOnce", () => {
  const good: readonly (readonly [string, readonly OnceOperation[], readonly OnceEffect[]])[] = [
    ["nothing at all", [], []],
    ["an acknowledged write at its revision", [done("x", { revision: 2 })], [at(2, "x")]],
    ["a rejected one that is not there", [ended("x", "rejected")], []],
    ["an unknown one that is not there", [ended("x", "unknown")], []],
    ["an unknown one that is", [ended("x", "unknown")], [at(2, "x")]],
    ["a transaction over two keys", [done("x", { revision: 2 })], [at(2, "x"), at(2, "x", { key: "b" })]],
    [
      "what was replaced, also where others wrote other keys",
      [done("x"), done("y"), done("z", { replaced: "x" }), done("first", { replaced: "" })],
      [at(2, "x"), at(3, "y", { key: "b" }), at(4, "z"), at(5, "first", { key: "c" })],
    ],
    ["a counter", [done("x"), ended("y", "unknown")], [at(2, "x", { count: 1 }), at(5, "y", { count: 2 })]],
  ];
  test.each(good)("%s: ok", (_name, operations, effects) => {
    expect(checkExactlyOnce(operations, effects)).toEqual({ verdict: "ok" });
  });

  const bad: readonly (readonly [string, readonly OnceOperation[], readonly OnceEffect[], string])[] = [
    ["an acknowledged write that is lost", [done("x")], [], "nowhere in the history"],
    ["one that is there twice", [done("x")], [at(2, "x"), at(5, "x")], "applied 2 times, at revisions 2 and 5"],
    ["an unknown one that is there twice", [ended("x", "unknown")], [at(2, "x"), at(5, "x", { key: "b" })], "2 times"],
    ["a rejected one that is there", [ended("x", "rejected")], [at(2, "x")], "was rejected"],
    ["one at another revision than was told", [done("x", { revision: 3 })], [at(2, "x")], "at revision 3, and is at 2"],
    ["one that nobody wrote", [], [at(2, "x")], "written by nobody"],
    ["an answer about another attempt", [done("x"), done("y", { replaced: "y" })], [at(2, "x"), at(3, "y")], `"y"`],
    ["a counter that skips", [done("x"), done("y")], [at(2, "x", { count: 1 }), at(3, "y", { count: 3 })], "is 3"],
    ["a counter that stands", [done("x"), done("y")], [at(2, "x", { count: 1 }), at(3, "y", { count: 1 })], "is 1"],
    ["a history that is out of order", [done("x"), done("y")], [at(3, "x"), at(2, "y")], "goes back"],
  ];
  test.each(bad)("%s: violation", (_name, operations, effects, message) => {
    expect(checkExactlyOnce(operations, effects)).toMatchObject({
      verdict: "violation",
      message: expect.stringContaining(message),
    });
  });
});
