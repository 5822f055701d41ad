/** Who waits for a linearizable read: bounded, and answered whatever happens. */
import { expect, test } from "vitest";
import { StoreError } from "../../src/base/errors.ts";
import { logIndex } from "../../src/base/ids.ts";
import { Reads } from "../../src/server/reads.ts";

const MOST = 100_000;

test("as many as there may be wait through refusals and retries, one more is refused, and all are answered", async () => {
  const reads = new Reads(1);
  let answered = 0;
  const waits = Array.from({ length: MOST }, () => reads.wait(1_000).then(() => answered++));
  await expect(reads.wait(1_000)).rejects.toMatchObject({ code: "TOO_MANY_REQUESTS", outcome: "rejected" });
  reads.refused(reads.begin(0)!, 0);
  reads.leaderChanged();
  const ref = reads.begin(10)!;
  reads.expire(600); // asked again after a while, each still waiting
  const again = reads.begin(600)!;
  expect(again).not.toBe(ref);
  reads.confirmed(again, logIndex(7), logIndex(3));
  expect(reads.count).toBe(MOST);
  reads.applied(logIndex(7));
  await Promise.all(waits);
  expect([answered, reads.count]).toEqual([MOST, 0]);
}, 30_000);

test("the end answers everybody", async () => {
  const reads = new Reads(1);
  const waits = Array.from({ length: MOST }, () => reads.wait(1_000).catch((error: unknown) => error));
  reads.endAll(new StoreError("STOPPED"));
  const answers = await Promise.all(waits);
  expect(answers.every((answer) => StoreError.is(answer, "STOPPED"))).toBe(true);
  expect(reads.count).toBe(0);
});

test("no two runs of a member use the same numbers: an answer to an earlier run's read says too little", () => {
  const refs = [1, 2].map((incarnation) => {
    const reads = new Reads(incarnation);
    reads.wait(1_000).catch(() => {});
    return reads.begin(0);
  });
  expect(refs[0]).not.toBe(refs[1]);
});
