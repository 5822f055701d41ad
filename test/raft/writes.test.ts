/** What is durable, whatever completes in between (W4-W6). */
import { describe, expect, test } from "vitest";
import { term } from "../../src/base/ids.ts";
import { Writes } from "../../src/raft/writes.ts";
import { at, conf, m } from "./core.ts";

function writes(last = 0): Writes {
  return new Writes({ term: term(1), votedFor: undefined, commit: at(0) }, last);
}

describe("Writes", () => {
  test("W4: one completion covers every earlier write", () => {
    const some = writes(2);
    some.add(term(1), undefined, undefined, 4);
    const second = some.add(term(2), m(1), undefined, 5);
    some.persisted(second);
    expect(some.durableIndex).toBe(5);
    expect(some.idle).toBe(true);
    expect(some.voteDurable(term(2), m(1))).toBe(true);
  });

  test("V13: a completion of what was never handed out stops the node", () => {
    expect(() => writes().persisted(1)).toThrow("V13");
  });

  test("a completion told twice changes nothing", () => {
    const some = writes();
    const seq = some.add(term(1), undefined, undefined, 3);
    some.persisted(seq);
    some.persisted(seq);
    expect(some.durableIndex).toBe(3);
  });

  test("W5, B17: an old completion does not vouch for what took the place of its entries", () => {
    const some = writes(1);
    const first = some.add(term(1), undefined, undefined, 5);
    some.clip(2); // a new leader's entries go in at 3
    const second = some.add(term(2), undefined, undefined, 4);
    some.clip(2); // and another's, the same as the first
    some.persisted(first);
    expect(some.durableIndex).toBe(2);
    some.persisted(second);
    expect(some.durableIndex).toBe(2);
    some.persisted(some.add(term(3), undefined, undefined, 5));
    expect(some.durableIndex).toBe(5);
  });

  test("W5: a cut that no write has taken yet lowers what is durable at once", () => {
    const some = writes(7);
    some.clip(4);
    expect(some.durableIndex).toBe(4);
  });

  test("E6: a vote counts only once it is on disk, for that term and that member", () => {
    const some = writes();
    const seq = some.add(term(2), m(1), undefined, 0);
    expect(some.voteDurable(term(2), m(1))).toBe(false);
    expect(some.handed(term(2), m(1))).toBe(true);
    some.persisted(seq);
    expect(some.voteDurable(term(2), m(1))).toBe(true);
    expect(some.voteDurable(term(2), m(2))).toBe(false);
    expect(some.voteDurable(term(3), m(1))).toBe(false);
  });

  test("W6, B33: each completion names the snapshot it installed, the newest if two end together", () => {
    const of = (index: number) => ({ index: at(index), term: term(1), conf: conf([1, 2, 3]) });
    const some = writes();
    const first = some.add(term(1), undefined, of(5), 5);
    const second = some.add(term(1), undefined, of(9), 9);
    expect(some.persisted(first)?.index).toBe(5);
    expect(some.persisted(second)?.index).toBe(9);
    const third = some.add(term(1), undefined, of(12), 12);
    const fourth = some.add(term(1), undefined, of(15), 15);
    expect(third).toBeLessThan(fourth);
    expect(some.persisted(fourth)?.index).toBe(15);
  });
});
