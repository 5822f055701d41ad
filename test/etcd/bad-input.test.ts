/** Bad input to leases and watches, by name: etcd and quorate refuse it alike, and neither changes anything. */
import { describe, expect, test } from "vitest";
import { type ErrorCode, FAILURES } from "../../src/base/errors.ts";
import { leaseId } from "../../src/base/ids.ts";
import type { WatchRequest } from "../../src/protocol/watch.ts";
import { bytes } from "../support/state.ts";
import type { Answer, CallRequest, Step } from "./answer.ts";
import { Etcd, findEtcd } from "./etcd.ts";
import { NORMALISERS } from "./normalisers.ts";
import { Pair } from "./pair.ts";
import { Quorate } from "./quorate.ts";

const binary = findEtcd();
const needsEtcd = describe.skipIf(binary === undefined && process.env.QUORATE_REQUIRE_ETCD !== "1");

const key = bytes("k");
const [known, unknown] = [leaseId(7n), leaseId(-9n)];
const before: readonly CallRequest[] = [
  { kind: "leaseGrant", ttl: 3_600, id: known },
  { kind: "put", key, value: bytes("1"), lease: known },
  { kind: "put", key, value: bytes("2"), lease: known },
  { kind: "put", key, value: bytes("3"), lease: known },
  { kind: "compact", revision: 3 },
];

const REFUSED: readonly (readonly [string, CallRequest, ErrorCode])[] = [
  ["a lease of too long a time", { kind: "leaseGrant", ttl: 9_000_000_001, id: unknown }, "LEASE_TTL_TOO_LARGE"],
  ["a lease's id once more", { kind: "leaseGrant", ttl: 60, id: known }, "LEASE_EXISTS"],
  ["the end of an unknown lease", { kind: "leaseRevoke", id: unknown }, "LEASE_NOT_FOUND"],
  ["a put with an unknown lease", { kind: "put", key, value: bytes("x"), lease: unknown }, "LEASE_NOT_FOUND"],
  [
    "a put with another lease and with its own",
    { kind: "put", key, value: bytes("x"), lease: known, ignoreLease: true },
    "LEASE_PROVIDED",
  ],
  [
    "a transaction that would do something before it meets an unknown lease",
    {
      ...{ kind: "txn", compare: [], failure: [] },
      success: [
        { kind: "deleteRange", key },
        { kind: "put", key: bytes("l"), value: bytes("x"), lease: unknown },
      ],
    },
    "LEASE_NOT_FOUND",
  ],
];

/** These are answers, not errors, in etcd as here. */
const ANSWERED: readonly (readonly [string, CallRequest, object])[] = [
  ["what an unknown lease has left", { kind: "leaseTimeToLive", id: unknown, keys: true }, { ttl: -1, grantedTtl: 0 }],
  ["a renewal of an unknown lease", { kind: "leaseKeepAlive", id: unknown }, { ttl: 0 }],
];

const WATCHES: readonly (readonly [string, WatchRequest, object])[] = [
  [
    "a watch of an empty range",
    { kind: "create", key, rangeEnd: key },
    { watchId: -1, created: true, canceled: true, cancelReason: "mvcc: watcher range is empty" },
  ],
  [
    "a watch of a range from its end on",
    { kind: "create", key, rangeEnd: bytes("a") },
    { watchId: -1, created: true, canceled: true, cancelReason: "mvcc: watcher range is empty" },
  ],
];

needsEtcd("etcd and quorate alike refuse (needs etcd: Debian's etcd-server, or ETCD_BIN)", () => {
  const run = async (program: (pair: Pair, seen: [Step, Answer][]) => Promise<void>): Promise<void> => {
    if (binary === undefined) throw new Error("QUORATE_REQUIRE_ETCD=1, and neither ETCD_BIN nor `etcd` runs");
    const etcd = await Etcd.start(binary);
    const seen: [Step, Answer][] = [];
    await using pair = new Pair({
      etcd,
      quorate: await Quorate.start(),
      normalisers: NORMALISERS.filter(({ shows }) => shows(etcd.version)),
      onAnswer: (step, answer) => seen.push([step, answer]),
    });
    for (const request of before) await pair.ask(request);
    await program(pair, seen);
  };
  /** Everything that can be read, leases too. */
  const everything = async (pair: Pair, seen: [Step, Answer][]): Promise<Answer[]> => {
    const from = seen.length;
    await pair.askEverything();
    return seen.slice(from).map(([, answer]) => {
      if (answer.kind !== "granted" || answer.result.kind !== "leaseTimeToLive") return answer;
      return { ...answer, result: { ...answer.result, ttl: 0 } };
    });
  };

  test("each of these requests", async () => {
    await run(async (pair, seen) => {
      const was = await everything(pair, seen);
      for (const [name, request, code] of REFUSED) {
        await pair.ask(request);
        expect(seen.at(-1)![1], name).toMatchObject({ kind: "refused", message: FAILURES[code].message });
        expect(await everything(pair, seen), name).toEqual(was);
      }
      for (const [name, request, result] of ANSWERED) {
        await pair.ask(request);
        expect(seen.at(-1)![1], name).toMatchObject({ kind: "granted", revision: 4, result });
        expect(await everything(pair, seen), name).toEqual(was);
      }
    });
  });

  test("each of these watches", async () => {
    await run(async (pair, seen) => {
      for (const [name, request, message] of WATCHES) {
        await pair.watch(request);
        expect(seen.at(-1)![1], name).toMatchObject({ kind: "told", messages: [message] });
      }
      // Cancelled although it is not there: no answer, and the stream goes on.
      await pair.watch({ kind: "cancel", watchId: 5 });
      expect(seen.at(-1)![1]).toEqual({ kind: "told", messages: [] });
      await pair.watch({ kind: "create", key, startRevision: 2, watchId: 5 });
      await pair.watch({ kind: "create", key, startRevision: 3, watchId: 6 });
      await pair.look();
      expect(seen.at(-1)![1]).toMatchObject({
        kind: "told",
        messages: [
          { watchId: 5, canceled: true, compactRevision: 3, revision: 0, events: [] },
          { watchId: 6, canceled: false, events: [{ kv: { modRevision: 3 } }, { kv: { modRevision: 4 } }, {}, {}] },
        ],
      });
      await pair.watch({ kind: "create", key, watchId: 6 });
      const cancelReason = "mvcc: duplicate watch ID provided on the WatchStream";
      expect(seen.at(-1)![1]).toMatchObject({
        messages: [{ watchId: -1, created: true, canceled: true, cancelReason }],
      });
    });
  });
});
