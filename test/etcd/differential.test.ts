/**
 * quorate against a real etcd (Debian's package etcd-server; `ETCD_BIN` names another), over random programs:
 *
 *     npm run test:etcd -- [--operations 1000000] [--seed N [--path P]]
 *
 * Without an etcd the test is skipped, but where `QUORATE_REQUIRE_ETCD=1` (CI) that is a failure. Differences that are
 * meant stand in docs/etcd-differences.md, those between versions of etcd in normalisers.ts.
 */
import { expect, test } from "vitest";
import { FAILURES } from "../../src/base/errors.ts";
import { testSeed } from "../support/seed.ts";
import { compareStores } from "./compare.ts";
import { Etcd, findEtcd } from "./etcd.ts";
import { NORMALISERS } from "./normalisers.ts";
import { Quorate } from "./quorate.ts";

const OPERATIONS = Number(process.env.QUORATE_ETCD_OPERATIONS ?? 20_000);
/** Each with an etcd of its own: they wait for each other less than one does for itself. */
const LANES = 6;
/** The long form says how far it is. */
const REPORT_EVERY = 50_000;
const path = process.env.QUORATE_ETCD_PATH;
const seed = testSeed();
const binary = findEtcd();
const needsEtcd = test.skipIf(binary === undefined && process.env.QUORATE_REQUIRE_ETCD !== "1");

/** Every refusal that programs can provoke; a run must have met them all, and granted each kind of request. */
const REFUSALS = [
  "COMPACTED",
  "DUPLICATE_KEY",
  "EMPTY_KEY",
  "FUTURE_REVISION",
  "KEY_NOT_FOUND",
  "LEASE_EXISTS",
  "LEASE_NOT_FOUND",
  "LEASE_PROVIDED",
  "LEASE_TTL_TOO_LARGE",
  "TOO_MANY_OPS",
  "VALUE_PROVIDED",
] as const;
const KINDS = [
  ...["range", "put", "deleteRange", "txn", "read-only txn", "compact"],
  ...["leaseGrant", "leaseRevoke", "leaseKeepAlive", "leaseTimeToLive", "leaseList"],
  ...["watch create", "watch cancel", "watch cancel, no answer", "watch progress", "watch progress, no answer"],
  ...["look, events", "look, compacted"],
  ...["mvcc: watcher range is empty", "mvcc: duplicate watch ID provided on the WatchStream"].map(
    (reason) => `watch create: ${reason}`,
  ),
  `watch create: ${FAILURES.COMPACTED.message}`,
];

needsEtcd(
  `etcd answers ${OPERATIONS} operations as quorate does (needs etcd: Debian's etcd-server, or ETCD_BIN) (seed ${seed})`,
  async () => {
    if (binary === undefined) throw new Error("QUORATE_REQUIRE_ETCD=1, and neither ETCD_BIN nor `etcd` runs");
    let version = "";
    const open = async () => {
      const etcd = await Etcd.start(binary);
      version = etcd.version;
      return {
        etcd,
        quorate: await Quorate.start(),
        normalisers: NORMALISERS.filter((each) => each.shows(etcd.version)),
      };
    };
    const start = performance.now();
    let next = REPORT_EVERY;
    const onRound = (done: number): void => {
      if (done < next) return;
      next += REPORT_EVERY;
      console.log(`${done} operations, ${Math.round((done * 1_000) / (performance.now() - start))} a second`);
    };
    const { operations, programs, answers } = await compareStores({
      open,
      seed,
      path,
      operations: OPERATIONS,
      lanes: LANES,
      onRound,
    });
    const counts = [...answers].sort(([, a], [, b]) => b - a).map(([name, count]) => `${count} ${name}`);
    console.log(
      `etcd ${version}, seed ${seed}: ${operations} operations in ${programs} programs\n${counts.join("\n")}`,
    );
    if (path !== undefined) return;
    expect(operations).toBeGreaterThanOrEqual(OPERATIONS);
    expect([...answers.keys()]).toEqual(
      expect.arrayContaining([...KINDS, ...REFUSALS.map((code) => FAILURES[code].message)]),
    );
  },
  // The bound only ends a hang; a failing program takes a new etcd for each step of its shrinking.
  300_000 + 20 * OPERATIONS,
);
