import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { RevisionRun, revisionKey, revisionName } from "../../src/storage/revision-run.ts";
import { testSeed } from "../support/seed.ts";
import { revisionKey as expectedKey } from "../support/storage.ts";

const seed = testSeed();

describe("RevisionRun", () => {
  test(`finds what was pushed and nothing else, also what another run brought (seed ${seed})`, () => {
    const step = fc.tuple(fc.nat(3), fc.integer({ min: 1, max: 3 }));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.nat(60), (steps, cut) => {
        const [run, second] = [new RevisionRun(), new RevisionRun()];
        const pushed = new Map<string, Uint8Array>();
        let main = 2 ** 32 - 50;
        for (const [i, [gap, subs]] of steps.entries()) {
          main += 1 + gap;
          for (let sub = 0; sub < subs; sub++) {
            const record = Uint8Array.of(i, sub);
            (i < cut ? run : second).push(main, sub, record);
            pushed.set(revisionName(main, sub), record);
          }
        }
        run.append(second);
        const key = new Uint8Array(13);
        expect(run.length).toBe(pushed.size);
        for (let at = 2 ** 32 - 51; at <= main + 1; at++) {
          for (let sub = 0; sub < 4; sub++) {
            const place = run.find(at, sub);
            expect(place < 0 ? undefined : run.records[place]).toBe(pushed.get(revisionName(at, sub)));
            if (place < 0) continue;
            run.keyInto(key, place);
            expect(key).toEqual(expectedKey(at, sub));
          }
        }
      }),
      { seed, numRuns: 100 },
    );
  });

  test("a revision that does not lie above the last breaks an invariant", () => {
    const run = new RevisionRun();
    run.push(5, 1, Uint8Array.of(1));
    for (const [main, sub] of [
      [5, 1],
      [5, 0],
      [4, 9],
    ] as const) {
      expect(() => run.push(main, sub, Uint8Array.of(2))).toThrow("state");
    }
  });

  test("keys are those of the machine", () => {
    expect(revisionKey(0x1_0000_0005, 7)).toEqual(expectedKey(0x1_0000_0005, 7));
  });
});
