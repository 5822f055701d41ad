/** What the differential test is worth without an etcd: it must find a store that answers wrongly, and say how. */
import { describe, expect, test } from "vitest";
import type { PutRequest } from "../../src/protocol/requests.ts";
import type { WatchRequest } from "../../src/protocol/watch.ts";
import { testSeed } from "../support/seed.ts";
import { bytes } from "../support/state.ts";
import type { Answer, CallRequest, OpAnswer, Side, WatchFeed, WatchMessage } from "./answer.ts";
import { type Comparison, compareStores } from "./compare.ts";
import { NORMALISERS } from "./normalisers.ts";
import { Pair } from "./pair.ts";
import { Quorate } from "./quorate.ts";
import { NOW } from "./revisions.ts";

const seed = testSeed();

/** What is changed in an answer, or in the question. */
interface Defect {
  readonly question?: (request: CallRequest) => CallRequest;
  readonly answer?: (answer: Answer, request: CallRequest) => Answer;
  readonly watch?: (request: WatchRequest) => WatchRequest;
  readonly told?: (message: WatchMessage) => WatchMessage;
}

class Defective implements Side {
  readonly #side: Side;
  readonly #defect: Defect;

  constructor(side: Side, defect: Defect) {
    this.#side = side;
    this.#defect = defect;
  }

  async ask(request: CallRequest): Promise<Answer> {
    const { question, answer } = this.#defect;
    const answered = await this.#side.ask(question?.(request) ?? request);
    return answer?.(answered, request) ?? answered;
  }

  async watch(): Promise<WatchFeed> {
    const { watch, told } = this.#defect;
    const feed = await this.#side.watch();
    return {
      request: (request) => feed.request(watch?.(request) ?? request),
      next: async () => {
        const message = await feed.next();
        return told?.(message) ?? message;
      },
      close: () => feed.close(),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#side[Symbol.asyncDispose]();
  }
}

const compareWith = (defect: Defect, operations: number, path?: string, from = seed): Promise<Comparison> =>
  compareStores({
    seed: from,
    path,
    operations,
    maxLength: 16,
    open: async () => ({
      etcd: await Quorate.start(),
      quorate: new Defective(await Quorate.start(), defect),
      normalisers: NORMALISERS.filter(({ shows }) => shows("99.0.0")),
    }),
  });

const results = (change: (result: OpAnswer) => OpAnswer): Defect => {
  const deep = (result: OpAnswer): OpAnswer =>
    change(
      result.kind === "txn"
        ? { ...result, results: result.results.map((each) => ({ ...each, result: deep(each.result) })) }
        : result,
    );
  return {
    answer: (answer) =>
      answer.kind === "granted" && isOp(answer.result) ? { ...answer, result: deep(answer.result) } : answer,
  };
};

const isOp = (result: { readonly kind: string }): result is OpAnswer =>
  ["range", "put", "deleteRange", "txn"].includes(result.kind);
const events = (change: (events: WatchMessage["events"]) => WatchMessage["events"]): Defect => ({
  told: (message) => ({ ...message, events: change(message.events) }),
});

/**
 * Of at most 16 operations. One may be two steps (a compaction, and a watch from there), and a look takes two: what makes an
 * event for each watcher, and itself. Some seeds shrink to three operations of which two are such: 6 steps were too few.
 */
const STEPS_MAX = 10;
const DEFECTS: readonly (readonly [name: string, defect: Defect])[] = [
  ["never says `more`", results((result) => (result.kind === "range" ? { ...result, more: false } : result))],
  [
    "has another text for a refusal",
    {
      answer: (answer) =>
        answer.kind === "refused" && answer.code === 11 ? { ...answer, message: "compacted" } : answer,
    },
  ],
  [
    "stamps what changed nothing with the next revision",
    {
      answer: (answer) =>
        answer.kind === "granted" && answer.result.kind === "deleteRange" && answer.result.deleted === 0
          ? { ...answer, revision: answer.revision + 1 }
          : answer,
    },
  ],
  [
    "takes `less` for `equal` in a compare of leases",
    {
      question: (request) =>
        request.kind === "txn"
          ? {
              ...request,
              compare: request.compare.map((compare) =>
                compare.target === "lease" && compare.result === "less" ? { ...compare, result: "equal" } : compare,
              ),
            }
          : request,
    },
  ],
  [
    "deletes too much",
    {
      question: (request) =>
        request.kind === "deleteRange" && request.rangeEnd?.length === 2
          ? { ...request, rangeEnd: bytes("\xff\xff\xff") }
          : request,
    },
  ],
  [
    "lets a lease keep a key that was put without it",
    {
      answer: (answer) => {
        if (answer.kind !== "granted" || answer.result.kind !== "leaseTimeToLive") return answer;
        return { ...answer, result: { ...answer.result, keys: [...answer.result.keys, "c"] } };
      },
    },
  ],
  [
    "grants a lease for less than it says",
    {
      question: (request) => (request.kind === "leaseGrant" ? { ...request, ttl: request.ttl - 10 } : request),
      answer: (answer) =>
        answer.kind === "granted" && answer.result.kind === "leaseGrant"
          ? { ...answer, result: { ...answer.result, ttl: answer.result.ttl + 10 } }
          : answer,
    },
  ],
  ["never tells what a key was", events((told) => told.map((event) => ({ ...event, prevKv: undefined })))],
  ["tells of a revision's events in another order", events((told) => told.toReversed())],
  [
    "does not heed a filter",
    { watch: (request) => (request.kind === "create" ? { ...request, noPut: false } : request) },
  ],
  [
    "begins a watch one revision late",
    events((told) =>
      told.filter(({ kv }, _i, [first, ...rest]) => {
        return kv.modRevision !== first!.kv.modRevision || rest.every((each) => each.kv.modRevision === kv.modRevision);
      }),
    ),
  ],
  [
    "does not answer a request for progress",
    { watch: (request) => (request.kind === "progress" ? { kind: "cancel", watchId: 99 } : request) },
  ],
  [
    "tells another compact revision",
    { told: (message) => ({ ...message, compactRevision: Math.sign(message.compactRevision) }) },
  ],
];

describe("a store that differs is found", () => {
  test.each(DEFECTS)(`one that %s, by at most ${STEPS_MAX} steps (seed ${seed})`, async (_name, defect) => {
    const text = await failureOf(compareWith(defect, 5_000));
    expect(text.match(/^\d+\. /gm)!.length).toBeLessThanOrEqual(STEPS_MAX);
    expect(text).toMatch(/^ {3}etcd: {4}\{.+\n {3}quorate: \{/m);

    const [, again, path] = /^Again: npm run test:etcd -- --seed (-?\d+) --path ([\d:]+)$/m.exec(text)!;
    const replayed = failureOf(compareWith(defect, 5_000, path, Number(again)));
    expect(await replayed).toContain(text.slice(0, text.indexOf("Again:")));
  });

  test("one that does not answer: the report shows what it was asked", async () => {
    const silent: Defect = {
      answer: (answer, { kind }) => {
        if (kind === "compact") throw new Error("the store is gone");
        return answer;
      },
    };
    const text = await failureOf(compareWith(silent, 5_000));
    expect(text).toContain('{"kind":"compact"');
    expect(text).toContain("no answer: Error: the store is gone");
  });

  test(`and one that does not differ is not (seed ${seed})`, async () => {
    const { operations, answers } = await compareWith({}, 1_000);
    expect(operations).toBeGreaterThanOrEqual(1_000);
    expect([...answers.keys()]).toEqual(
      expect.arrayContaining(["put", "range", "txn", "compact", "leaseGrant", "watch create", "look, events"]),
    );
  });
});

describe("a program on a used pair", () => {
  const put = (key: string): PutRequest => ({ kind: "put", key: bytes(key), value: bytes("v") });

  test("meets what it meets on a new one, and is reported with the same revisions", async () => {
    const seen: Answer[] = [];
    const open = async (): Promise<Pair> =>
      new Pair({
        etcd: await Quorate.start(),
        quorate: new Defective(await Quorate.start(), {
          answer: (answer, { kind }) =>
            kind === "compact" && answer.kind === "refused" ? { ...answer, code: 0 } : answer,
        }),
        normalisers: [],
        onAnswer: (_step, answer) => seen.push(answer),
      });
    const program: readonly CallRequest[] = [
      put("a"),
      put("a"),
      { kind: "range", key: bytes("a"), revision: 2 },
      { kind: "range", key: bytes("a"), revision: NOW - 1, minModRevision: NOW },
      {
        kind: "txn",
        compare: [{ key: bytes("a"), target: "mod", result: "equal", modRevision: NOW }],
        success: [put("b")],
        failure: [],
      },
      { kind: "deleteRange", key: bytes("\0"), rangeEnd: bytes("\0"), prevKv: true },
      { kind: "compact", revision: NOW + 1 },
    ];
    const run = async (pair: Pair): Promise<string> => {
      for (const request of program.slice(0, -1)) await pair.ask(request);
      await pair.askEverything();
      return failureOf(pair.ask(program.at(-1)!));
    };
    await using fresh = await open();
    const expected = await run(fresh);
    await using used = await open();
    await used.ask(put("c"));
    await used.ask(put("d"));
    await used.clear();
    expect(await run(used)).toBe(expected);
    expect(expected).toContain('"createRevision":2,"modRevision":3,"version":2');
    expect(expected).toContain('8. {"kind":"compact","revision":6}');
    // Not because nothing was moved.
    expect(Math.max(...seen.map((answer) => (answer.kind === "granted" ? answer.revision : 0)))).toBe(8);
  });
});

async function failureOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => {
      throw new Error("no difference was found");
    },
    (error: Error) => error.message,
  );
}
