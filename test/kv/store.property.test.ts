/** The store against the obvious slow model, over random programs; and the laws that need no model. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { prng, randomInt } from "../../src/base/prng.ts";
import { program, put, request } from "../support/requests.ts";
import { testSeed } from "../support/seed.ts";
import { answer, bytes, finishRead, Member, show } from "../support/state.ts";
import { Model } from "./model.ts";

const seed = testSeed();

describe("Store", () => {
  test(`answers every program as the model does, whatever is dropped and restarted meanwhile (seed ${seed})`, () => {
    const seen = new Set<string>();
    fc.assert(
      fc.property(program, fc.integer(), (requests, chance) => {
        const random = prng(chance);
        const member = new Member();
        const model = new Model();
        for (const request of requests) {
          const ours = answer(() => member.ask(request, () => randomInt(random, 1, 6)));
          const expected = model.run(request);
          expect(ours).toEqual(expected);
          seen.add("error" in expected ? expected.error : expected.kind);
          expect(member.machine.revision).toBe(model.revision);
          expect(member.machine.compactRevision).toBe(model.compactRevision);
          expect(member.machine.metrics.keys).toBe(model.liveAt(model.revision).length);
          if (random() < 0.4) member.machine.compactStep(randomInt(random, 1, 4));
          if (random() < 0.1) member.reload();
        }
        // Everything that may still be read, at every revision that still has an answer.
        for (let at = Math.max(1, model.compactRevision); at <= model.revision; at++) {
          const all = { kind: "range", key: bytes("\0"), rangeEnd: bytes("\0"), revision: at } as const;
          expect(answer(() => member.ask(all, 3))).toEqual(model.run(all));
        }
      }),
      { seed, numRuns: 400 },
    );
    // The programs must have met everything that there is to meet.
    expect([...seen].sort()).toEqual(
      [
        ...["COMPACTED", "DUPLICATE_KEY", "EMPTY_KEY", "FUTURE_REVISION", "KEY_NOT_FOUND", "LEASE_NOT_FOUND"],
        ...["LEASE_PROVIDED", "VALUE_PROVIDED"],
        ...["compact", "deleteRange", "hashKv", "put", "range", "txn"],
      ].sort(),
    );
  });

  test(`a read at an old revision never changes (seed ${seed})`, () => {
    fc.assert(
      fc.property(fc.array(request, { maxLength: 25, size: "max" }), (requests) => {
        const member = new Member();
        const seen = new Map<number, object>();
        const all = (revision: number) =>
          ({ kind: "range", key: bytes("\0"), rangeEnd: bytes("\0"), revision }) as const;
        for (const request of requests) {
          answer(() => member.ask(request));
          const { revision, compactRevision } = member.machine;
          if (!seen.has(revision)) seen.set(revision, kvsOf(member, all(revision)));
          for (const [at, kvs] of seen) if (at >= compactRevision) expect(kvsOf(member, all(at))).toEqual(kvs);
          member.machine.compactStep(2);
        }
      }),
      { seed, numRuns: 100 },
    );
  });

  test(`a read that began before a compaction ends as it began, though everything below is dropped (seed ${seed})`, () => {
    fc.assert(
      fc.property(
        fc.array(put, { minLength: 8, maxLength: 30, size: "max" }),
        fc.integer({ min: 1, max: 6 }),
        (puts, steps) => {
          const member = new Member();
          for (const one of puts) answer(() => member.ask(one));
          const { revision } = member.machine;
          const at = Math.max(1, revision - 3);
          const request = { kind: "range", key: bytes("a"), rangeEnd: bytes("\0"), revision: at } as const;
          const expected = kvsOf(member, request);
          const read = member.machine.startRange(request);
          const early = read.step(steps);
          for (const name of ["a", "b", "c", "d", "\xff"]) {
            member.ask({ kind: "deleteRange", key: bytes(name) });
            member.ask({ kind: "put", key: bytes(name), value: bytes("new") });
          }
          member.ask({ kind: "compact", revision: member.machine.revision });
          for (let i = 0; i < 20; i++) member.machine.compactStep(100);
          expect(show(early ?? finishRead(read, steps))).toMatchObject({ kvs: expected });
          member.dropAll();
          expect(member.machine.compactionPending).toBe(false);
        },
      ),
      { seed, numRuns: 100 },
    );
  });
});

function kvsOf(member: Member, request: Parameters<Member["ask"]>[0]): object {
  return (show(member.ask(request)) as { kvs: object }).kvs;
}
