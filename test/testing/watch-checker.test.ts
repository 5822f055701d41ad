import { describe, expect, test } from "vitest";
import { checkWatches, type WatchedEvent, type WatchedRecord, type WatchSegment } from "../../src/testing/index.ts";

const put = (revision: number, key: string, value: string, previous?: string): WatchedEvent => ({
  ...{ revision, type: "put", key, value },
  ...(previous === undefined ? {} : { previous }),
});
const deletion = (revision: number, key: string, previous?: string): WatchedEvent => ({
  ...put(revision, key, "", previous),
  type: "delete",
});

const A2 = put(2, "a", "1");
const [A3, B3] = [put(3, "a", "2", "1"), put(3, "b", "1")];
const A4 = deletion(4, "a", "2");
const B5 = put(5, "b", "2", "1");
const HAPPENED = new Map([
  [2, [A2]],
  [3, [A3, B3]],
  [4, [A4]],
  [5, [B5]],
]);

/** Batches, each up to the last revision in it. */
const segment = (start: number, ...batches: readonly (readonly WatchedEvent[])[]): WatchSegment => ({
  start,
  batches: batches.map((events) => ({ revision: events.at(-1)!.revision, events })),
});
const record = (segments: readonly WatchSegment[], more: Partial<WatchedRecord> = {}): WatchedRecord => ({
  ...{ name: "w", key: "a", end: "c", prevKv: true },
  segments,
  ...more,
});

/** The promises that it breaks. */
function broken(watched: WatchedRecord): string[] {
  return Object.entries(checkWatches([watched], HAPPENED)).flatMap(([promise, { verdict }]) =>
    verdict === "ok" ? [] : [promise.replace("watches are ", "")],
  );
}

describe("what holds", () => {
  test.each<[string, WatchedRecord]>([
    ["nothing told", record([segment(1)])],
    ["everything", record([segment(1, [A2], [A3, B3, A4], [B5])])],
    ["a key alone", record([segment(1, [A2, A3], [A4])], { end: undefined })],
    ["from the middle, not yet at the end", record([segment(3, [A3, B3])])],
    ["stopped and gone on", record([segment(1, [A2]), segment(3), segment(3, [A3, B3], [A4]), segment(5, [B5])])],
    ["values before that nobody asked for", record([segment(4, [deletion(4, "a")])], { prevKv: false })],
    [
      "progress beyond the events",
      record([{ start: 5, batches: [segment(5, [B5]).batches[0]!, { revision: 9, events: [] }] }]),
    ],
  ])("%s", (_, watched) => {
    expect(broken(watched)).toEqual([]);
  });
});

describe("what does not", () => {
  test.each<[string, WatchedRecord, string]>([
    ["an earlier revision after a later one", record([segment(1, [A2], [A4], [A3, B3])]), "ordered"],
    [
      "a revision that its batch does not reach",
      record([{ start: 5, batches: [{ revision: 4, events: [B5] }] }]),
      "ordered",
    ],
    [
      "a batch that goes back",
      record([
        {
          start: 1,
          batches: [
            { revision: 3, events: [] },
            { revision: 2, events: [A2] },
          ],
        },
      ]),
      "ordered",
    ],
    ["a revision again after a resume", record([segment(1, [A2]), segment(2, [A2])]), "unique"],
    ["the same event twice in a batch", record([segment(4, [A4, A4])]), "unique"],
    ["a revision in two batches", record([segment(3, [A3], [B3])]), "atomic"],
    ["half of a revision", record([segment(3, [A3], [A4])]), "atomic"],
    ["a revision left out", record([segment(1, [A2], [A4])]), "reliable"],
    ["the first revision left out", record([segment(1, [A3, B3])]), "reliable"],
    ["what never happened", record([segment(5, [put(5, "b", "7", "1")])]), "reliable"],
    ["a put told as a deletion", record([segment(5, [deletion(5, "b", "1")])]), "reliable"],
    ["a wrong value before", record([segment(4, [deletion(4, "a", "1")])]), "reliable"],
    ["no value before", record([segment(4, [deletion(4, "a")])]), "reliable"],
    [
      "progress that ran ahead of an event",
      record([{ start: 2, batches: [{ revision: 5, events: [A2, A3, B3, A4] }] }]),
      "reliable",
    ],
    ["a resume that skips", record([segment(1, [A2]), segment(4, [A4])]), "resumable"],
    ["a resume that passes over", record([segment(1, [A2]), segment(3, [A4])]), "resumable"],
    ["a start that is not kept", record([segment(3, [A2], [A3, B3])]), "resumable"],
  ])("%s", (_, watched, promise) => {
    expect(broken(watched)).toContain(promise);
  });
});

describe("compaction", () => {
  /** Told up to 2, then that everything below 4 is gone, and from 4 on again. */
  const passedOver = (compacted: number, start: number): WatchedRecord =>
    record([{ ...segment(1, [A2]), compacted }, segment(start, [A4, B5])]);

  test("a watch may pass over what was compacted away, and goes on exactly there", () => {
    expect(broken(passedOver(4, 4))).toEqual([]);
    expect(broken(passedOver(4, 5))).toContain("resumable");
  });

  test("a watch that had nothing to lose must not be told of a compaction", () => {
    expect(broken(passedOver(3, 3))).toContain("resumable");
  });

  test("a value before an event may be missing below the compaction, and nowhere else", () => {
    const bare = record([segment(4, [deletion(4, "a"), B5])]);
    const verdict = (compactedTo: number) => checkWatches([bare], HAPPENED, { compactedTo })["watches are reliable"];
    expect(verdict(4)).toEqual({ verdict: "ok" });
    expect(verdict(3)).toMatchObject({
      verdict: "violation",
      fragment: expect.arrayContaining([expect.stringContaining("4")]),
    });
  });
});
