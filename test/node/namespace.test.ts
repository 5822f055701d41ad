/**
 * A namespace against a cluster of its own: whatever is done through the view gives what the same calls give where there are
 * no other keys, but for revisions, which are ahead by what was written before. Nothing outside changes.
 */
import * as fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import { encodeUtf8 } from "../../src/base/bytes.ts";
import { StoreError } from "../../src/base/errors.ts";
import type { LeaseId } from "../../src/base/ids.ts";
import type { Client } from "../../src/client/client.ts";
import type { ClientView } from "../../src/client/namespace.ts";
import { compare, type Op, op } from "../../src/client/txn.ts";
import { Mutex } from "../../src/concurrency/mutex.ts";
import { Session } from "../../src/concurrency/session.ts";
import { Node } from "../../src/node/node.ts";
import type { Compare, LeaderKey } from "../../src/protocol/requests.ts";
import { testSeed } from "../support/seed.ts";

const seed = testSeed();

async function open(): Promise<Client> {
  const node = await Node.open({});
  onTestFinished(() => node.close());
  return node.client();
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const from = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "latin1"));

/** An answer without who gave it; revisions from the view's beginning on. */
function shown(value: unknown, offset: number): unknown {
  if (value instanceof Uint8Array) return hex(value);
  if (Array.isArray(value)) return value.map((each) => shown(each, offset));
  if (typeof value !== "object" || value === null) return value;
  const fields = Object.entries(value).filter(([name]) => !["clusterId", "memberId", "raftTerm"].includes(name));
  return Object.fromEntries(
    fields.map(([name, field]) => [
      name,
      /^(revision|createRevision|modRevision|token)$/.test(name) && typeof field === "number" && field > 0
        ? field - offset
        : shown(field, offset),
    ]),
  );
}

async function answer(call: () => Promise<unknown>, offset: number): Promise<unknown> {
  try {
    return shown(await call(), offset);
  } catch (error) {
    if (!StoreError.is(error)) throw error;
    return { code: error.code, message: error.message };
  }
}

// Few bytes, at the edges: keys collide, and ranges end where prefixes do.
const key = fc.array(fc.constantFrom(0x00, 0x61, 0xfe, 0xff), { maxLength: 3 }).map((bytes) => Uint8Array.from(bytes));
const selection = fc.oneof(
  fc.constant({}),
  fc.constant({ prefix: true }),
  fc.constant({ fromKey: true }),
  key.map((rangeEnd) => ({ rangeEnd })),
);
const value = fc.constantFrom("1", "2", "");
const lease = fc.constantFrom(undefined, 7n as LeaseId);
const getOptions = fc
  .tuple(
    selection,
    fc.record(
      {
        limit: fc.nat(3),
        keysOnly: fc.boolean(),
        countOnly: fc.boolean(),
        serializable: fc.boolean(),
        sort: fc.record({ by: fc.constantFrom("key", "mod", "value"), order: fc.constantFrom("ascend", "descend") }),
      },
      { requiredKeys: [] },
    ),
  )
  .map(([range, more]) => ({ ...range, ...more }));
const putOptions = fc.record({ prevKv: fc.boolean(), lease });
const deleteOptions = fc.tuple(selection, fc.boolean()).map(([range, prevKv]) => ({ ...range, prevKv }));
const compared: fc.Arbitrary<Compare> = fc.oneof(
  fc.tuple(key, value, selection).map(([k, v, range]) => compare.value(k, "=", v, range)),
  fc.tuple(key, fc.nat(2), selection).map(([k, n, range]) => compare.version(k, ">", n, range)),
  fc.tuple(key, selection).map(([k, range]) => compare.lease(k, "=", 7n as LeaseId, range)),
);
const { operation } = fc.letrec<{ operation: Op; operations: Op[] }>((tie) => ({
  operation: fc.oneof(
    { maxDepth: 2 },
    fc.tuple(key, getOptions).map(([k, options]): Op => op.get(k, options)),
    fc.tuple(key, value, putOptions).map(([k, v, options]): Op => op.put(k, v, options)),
    // Not to the end of all keys: etcd overlooks such a one beside a put, and in a namespace there is none.
    fc
      .tuple(key, deleteOptions)
      .map(([k, options]): Op => op.delete(k, options))
      .filter(({ request }) => !(request.kind === "deleteRange" && request.rangeEnd?.join() === "0")),
    fc
      .tuple(fc.array(compared, { maxLength: 1 }), tie("operations"), tie("operations"))
      .map(([compares, success, failure]): Op => op.txn(compares, success, failure)),
  ),
  operations: fc.array(tie("operation"), { maxLength: 2 }) as fc.Arbitrary<Op[]>,
}));

const LEASE = 7n as LeaseId;

interface Step {
  readonly text: string;
  readonly run: (client: ClientView) => Promise<unknown>;
}
const step: fc.Arbitrary<Step> = fc.oneof(
  fc
    .tuple(key, getOptions)
    .map(([k, o]) => ({ text: `get ${hex(k)} ${fc.stringify(o)}`, run: (c: ClientView) => c.get(k, o) })),
  fc
    .tuple(key, value, putOptions)
    .map(([k, v, o]) => ({ text: `put ${hex(k)} ${fc.stringify(o)}`, run: (c: ClientView) => c.put(k, v, o) })),
  fc
    .tuple(key, deleteOptions)
    .map(([k, o]) => ({ text: `delete ${hex(k)} ${fc.stringify(o)}`, run: (c: ClientView) => c.delete(k, o) })),
  fc
    .tuple(
      fc.array(compared, { maxLength: 2 }),
      fc.array(operation, { maxLength: 3 }),
      fc.array(operation, { maxLength: 2 }),
    )
    .map(([compares, success, failure]) => ({
      text: `txn ${fc.stringify([compares, success, failure])}`,
      run: (c: ClientView) =>
        c
          .txn()
          .if(...compares)
          .then(...success)
          .else(...failure)
          .commit(),
    })),
  // Under the one lease, so none has to wait.
  key.map((name) => ({ text: `lock ${hex(name)}`, run: (c: ClientView) => c.locks.lock(name, { lease: LEASE }) })),
  key.map((name) => ({
    text: `lock and unlock ${hex(name)}`,
    run: async (c: ClientView) => c.locks.unlock((await c.locks.lock(name, { lease: LEASE })).key),
  })),
  key.map((k) => ({ text: `unlock ${hex(k)}`, run: (c: ClientView) => c.locks.unlock(k) })),
  fc.tuple(key, value).map(([name, v]) => ({
    text: `campaign, proclaim and leader ${hex(name)}`,
    run: async (c: ClientView) => {
      const elected = await c.elections.campaign(name, "first", { lease: LEASE });
      return [elected, await c.elections.proclaim(elected.leader, v), await c.elections.leader(name)];
    },
  })),
  key.map((name) => ({
    text: `campaign and resign ${hex(name)}`,
    run: async (c: ClientView) =>
      c.elections.resign((await c.elections.campaign(name, "first", { lease: LEASE })).leader),
  })),
  key.map((name) => ({ text: `leader ${hex(name)}`, run: (c: ClientView) => c.elections.leader(name) })),
  key.map((k) => ({
    text: `resign ${hex(k)}`,
    run: (c: ClientView) => c.elections.resign({ name: k, key: k, revision: 1, lease: LEASE }),
  })),
  fc.constant({ text: "time to live", run: (c: ClientView) => c.lease.timeToLive(LEASE, { keys: true }) }),
);

const PREFIXES = ["app/", "a", "a\xff", "\xff", "\xff\xff", "\0", "\0\xff", "a\0"] as const;
/** What lies around each, on both sides and at the edges. */
const neighbours = (prefix: string): string[] =>
  [
    "\0",
    "a",
    "a\xfe",
    "a\xfe\xff",
    "a\xff",
    "app",
    "app.",
    "app0",
    "b",
    "b\0",
    "\xfe",
    "\xfe\xff",
    "\xff",
    "\x01",
  ].filter((each) => !each.startsWith(prefix) || each === prefix);

describe("a namespace", () => {
  test.each(PREFIXES)(
    `gives what a cluster of its own gives, and reaches nothing else: %j (seed ${seed})`,
    async (prefix) => {
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 20 }), async (steps) => {
          await using node = await Node.open({});
          await using alone = await Node.open({});
          const plain = node.client();
          const own = alone.client();
          for (const each of neighbours(prefix)) await plain.put(from(each), "outside");
          for (const client of [plain, own]) await client.lease.grant(5_000, { id: LEASE });
          // The lease holds keys of others too.
          await plain.put(from(neighbours(prefix)[0]!), "outside", { lease: LEASE });
          const before = await plain.get("", { prefix: true });
          const offset = before.header.revision - (await own.get("a")).header.revision;
          const view = plain.namespace(from(prefix));
          for (const { text, run } of steps) {
            expect(await answer(() => run(view), offset), text).toEqual(await answer(() => run(own), 0));
          }
          const after = await plain.get("", { prefix: true });
          const isInside = (k: Uint8Array): boolean => k.length > prefix.length && hex(k).startsWith(hex(from(prefix)));
          expect(after.kvs.filter((kv) => !isInside(kv.key))).toEqual(before.kvs);
          // And what was written stands below the prefix, under its own name.
          const written = await own.get("", { prefix: true });
          expect(after.kvs.filter((kv) => isInside(kv.key)).map((kv) => hex(kv.key.slice(prefix.length)))).toEqual(
            written.kvs.map((kv) => hex(kv.key)),
          );
        }),
        { seed, numRuns: 8 },
      );
    },
  );

  test("a watch sees what is inside, without the prefix, and nothing else", async () => {
    const client = await open();
    const view = client.namespace("app/");
    await client.put("app/a", "0");
    const all = await view.getAndWatch("", { prefix: true, prevKv: true });
    expect(all.kvs.map((kv) => kv.keyText())).toEqual(["a"]);
    await using one = view.watch("a", { startRevision: all.header.revision + 1 });
    await using open_ = view.watch("b", { fromKey: true, startRevision: all.header.revision + 1 });
    await using lowest = view.watch("", { startRevision: all.header.revision + 1 });
    for (const key of ["app", "app/", "app0", "b", "\0"]) await client.put(key, "outside");
    await client.put("app/a", "1");
    await view.put("\0", "2");
    await view.put("c", "3");
    await client.delete("app/a");
    const seen: string[] = [];
    for await (const { events } of all.watch) {
      for (const { type, kv, prevKv } of events)
        seen.push(`${type} ${kv.keyText()} ${prevKv?.text() ?? "-"} ${prevKv?.keyText() ?? "-"}`);
      if (seen.length === 4) break;
    }
    expect(seen).toEqual(["put a 0 a", "put \0 - -", "put c - -", "delete a 1 a"]);
    const first = async (watch: typeof one): Promise<string> => (await watch.next()).value!.events[0]!.kv.keyText();
    expect([await first(one), await first(open_), await first(lowest)]).toEqual(["a", "c", "\0"]);
  });

  test("namespaces within namespaces; leases and their ids are shared", async () => {
    const client = await open();
    const inner = client.namespace("a/").namespace("b/");
    const { id } = await inner.lease.grant(100);
    await inner.put("key", "1", { lease: id });
    await client.put("elsewhere", "1", { lease: id });
    expect((await client.get("a/b/key")).kvs).toHaveLength(1);
    const keys = async (view: ClientView): Promise<string[]> =>
      (await view.lease.timeToLive(id, { keys: true })).keys.map((each) => Buffer.from(each).toString());
    expect(await keys(client)).toEqual(["a/b/key", "elsewhere"]);
    expect(await keys(client.namespace("a/"))).toEqual(["b/key"]);
    expect(await keys(inner)).toEqual(["key"]);
    expect(await keys(client.namespace("x/"))).toEqual([]);
    expect((await inner.lease.list()).leases).toEqual([id]);
    await inner.lease.revoke(id);
    expect((await client.get("", { prefix: true })).kvs).toEqual([]);
  });

  test("its locks and elections are its own, in one queue with recipes on the view", async () => {
    const client = await open();
    const view = client.namespace("app/");
    await client.locks.lock("jobs");
    const { id: lease } = await view.lease.grant(100);
    // The cluster's lock of that name is another one.
    const { key, token } = await view.locks.lock("jobs", { lease });
    expect(Buffer.from(key).toString()).toBe(`jobs/${lease.toString(16)}`);
    expect((await client.get(`app/jobs/${lease.toString(16)}`)).kvs[0]?.createRevision).toBe(token);
    await using session = await Session.open(view, { ttl: 100 });
    const mutex = new Mutex(session, "jobs");
    expect(await mutex.tryLock()).toBe(false);
    await view.locks.unlock(key);
    await mutex.lock();
    expect((await client.get("jobs/", { prefix: true })).count).toBe(1);

    const seen: string[] = [];
    const stop = new AbortController();
    const observing = (async () => {
      for await (const { kv } of view.elections.observe("boss", { signal: stop.signal })) {
        seen.push(`${kv.keyText()} ${kv.text()}`);
        if (seen.length === 2) stop.abort();
      }
    })().catch((error) => error.code);
    await client.elections.campaign("boss", "of all", { lease });
    const { leader } = await view.elections.campaign("boss", "a", { lease });
    expect(Buffer.from(leader.name).toString()).toBe("boss");
    while (seen.length === 0) await client.get("a");
    await view.elections.proclaim(leader, "b");
    expect(await observing).toBe("CANCELLED");
    expect(seen).toEqual([`boss/${lease.toString(16)} a`, `boss/${lease.toString(16)} b`]);
    await view.elections.resign(leader);
    expect((await client.elections.leader("boss")).kv.text()).toBe("of all");
  });

  test("a name or a key that is none reaches nothing", async () => {
    const client = await open();
    await client.put("x", "outside");
    const view = client.namespace("app/");
    const code = (promise: Promise<unknown>): Promise<unknown> => promise.catch((error) => error.code);
    const none = { name: "x", key: 7, revision: 2, lease: LEASE } as unknown as LeaderKey;
    expect(await code(view.locks.lock(""))).toBe("INVALID_REQUEST");
    expect(await code(view.elections.campaign("", "1"))).toBe("INVALID_REQUEST");
    expect(await code(view.elections.leader(""))).toBe("INVALID_REQUEST");
    expect(await code(view.elections.resign(none))).toBe("INVALID_REQUEST");
    expect(await code(view.elections.resign(undefined as unknown as LeaderKey))).toBe("ELECTION_LEADER_MISSING");
    await view.elections.resign({ name: encodeUtf8("x"), key: encodeUtf8("x"), revision: 2, lease: LEASE });
    await view.locks.unlock("x");
    expect((await client.get("", { prefix: true })).kvs.map((kv) => kv.text())).toEqual(["outside"]);
  });

  test("a txn that deletes to the end of the namespace and puts there is refused, as one that deletes any other range", async () => {
    const client = await open();
    const both = (view: ClientView) =>
      view
        .txn()
        .then(op.delete("a", { fromKey: true }), op.put("b", "1"))
        .commit();
    await expect(both(client.namespace("app/"))).rejects.toMatchObject({ code: "DUPLICATE_KEY" });
    // As etcd: to the end of all keys it is overlooked (etcd-semantics, duplicate keys).
    expect((await both(client)).succeeded).toBe(true);
  });

  test("an empty key is no key, and the prefix is bytes or well-formed text", async () => {
    const client = await open();
    await client.put("app/", "outside");
    const view = client.namespace("app/");
    const code = (promise: Promise<unknown>): Promise<unknown> => promise.catch((error) => error.code);
    expect(await code(view.get(""))).toBe("EMPTY_KEY");
    expect(await code(view.put("", "1"))).toBe("EMPTY_KEY");
    expect(await code(view.delete(""))).toBe("EMPTY_KEY");
    expect(await code(view.txn().then(op.delete("")).commit())).toBe("EMPTY_KEY");
    expect(
      await code(
        view
          .txn()
          .if(compare.version("", "=", 0))
          .then(op.put("a", "1"))
          .commit(),
      ),
    ).toBe("EMPTY_KEY");
    expect((await client.get("", { prefix: true })).kvs.map((kv) => kv.text())).toEqual(["outside"]);
    expect(() => client.namespace("\ud800")).toThrow(expect.objectContaining({ code: "INVALID_REQUEST" }));
    // The empty prefix is the client itself.
    expect((await client.namespace("").get("", { prefix: true })).kvs).toHaveLength(1);
  });
});
