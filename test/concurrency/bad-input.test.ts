/** What a careless program asks of the recipes: one named error each, and nothing changes. */
import { describe, expect, test } from "vitest";
import { leaseId } from "../../src/base/ids.ts";
import type { Client } from "../../src/client/client.ts";
import { type ConfigValidator, ConfigWatcher } from "../../src/concurrency/config-watcher.ts";
import { Election, observeElection } from "../../src/concurrency/election.ts";
import { initializeOnce } from "../../src/concurrency/initialize-once.ts";
import { Mutex } from "../../src/concurrency/mutex.ts";
import { Session } from "../../src/concurrency/session.ts";
import { type Isolation, stm } from "../../src/concurrency/stm.ts";
import { failure, member } from "./member.ts";

type Case = readonly [string, string, string, (client: Client, session: Session) => Promise<unknown>];

const untyped = (value: unknown): never => value as never;

const TABLE: readonly Case[] = [
  ["a ttl of 0", "INVALID_REQUEST", "from 1 on, not 0", (client) => Session.open(client, { ttl: 0 })],
  ["a negative ttl", "INVALID_REQUEST", "not -5", (client) => Session.open(client, { ttl: -5 })],
  ["half a second of ttl", "INVALID_REQUEST", "not 0.5", (client) => Session.open(client, { ttl: 0.5 })],
  ["a ttl that is no number", "INVALID_REQUEST", "not NaN", (client) => Session.open(client, { ttl: Number.NaN })],
  ["a ttl that is text", "INVALID_REQUEST", "not 10", (client) => Session.open(client, { ttl: untyped("10") })],
  [
    "a ttl beyond etcd's",
    "LEASE_TTL_TOO_LARGE",
    "etcdserver: too large lease TTL",
    (client) => Session.open(client, { ttl: 9_000_000_001 }),
  ],
  [
    "a session on an unknown lease",
    "LEASE_NOT_FOUND",
    "etcdserver: requested lease not found",
    (client) => Session.open(client, { lease: leaseId(77n) }),
  ],
  ["a session on no lease", "INVALID_REQUEST", "must be a lease's id", (c) => Session.open(c, { lease: leaseId(0n) })],
  ["an empty lock name", "INVALID_REQUEST", "a lock needs a name", async (_, session) => new Mutex(session, "")],
  ["a lock name that is no text", "INVALID_REQUEST", "must be a string", async (_, s) => new Mutex(s, untyped(7))],
  [
    "unlock without lock",
    "LOCK_RELEASED",
    "mutex: lock has already been released",
    (_, s) => new Mutex(s, "a").unlock(),
  ],
  ["the owner's condition without lock", "LOCK_RELEASED", "released", async (_, s) => new Mutex(s, "a").isOwner()],
  [
    "a lock with a bad timeout",
    "INVALID_REQUEST",
    "timeoutMs must be above 0",
    (_, s) => new Mutex(s, "a").lock({ timeoutMs: 0 }),
  ],
  ["an empty election name", "INVALID_REQUEST", "an election needs a name", async (_, s) => new Election(s, "")],
  ["an empty election to observe", "INVALID_REQUEST", "needs a name", async (client) => observeElection(client, "")],
  [
    "a value that is no text",
    "INVALID_REQUEST",
    "must be a string",
    (_, s) => new Election(s, "a").campaign(untyped(5)),
  ],
  [
    "proclaim without having campaigned",
    "ELECTION_NOT_LEADER",
    "election: not leader",
    (_, s) => new Election(s, "a").proclaim("x"),
  ],
  [
    "the leader's condition of no leader",
    "ELECTION_NOT_LEADER",
    "not leader",
    async (_, s) => new Election(s, "a").isLeader(),
  ],
  [
    "the leader of an election without one",
    "ELECTION_NO_LEADER",
    "election: no leader",
    (_, s) => new Election(s, "a").leader(),
  ],
  [
    "resume with another's key",
    "INVALID_REQUEST",
    "not that of this election",
    async (_, s) => Election.resume(s, "a", { key: "a/1", token: 5 }),
  ],
  [
    "resume with half a revision",
    "INVALID_REQUEST",
    "a leader's token is a revision",
    async (_, s) => Election.resume(s, "a", { key: new Election(s, "a").key, token: 1.5 }),
  ],
  [
    "an unknown isolation",
    "INVALID_REQUEST",
    "unknown isolation",
    (c) => stm(c, () => {}, { isolation: untyped("Snapshot") as Isolation }),
  ],
  ["an empty key in an stm", "EMPTY_KEY", "etcdserver: key is not provided", (c) => stm(c, (tx) => tx.put("", "x"))],
  [
    "an stm of 129 keys",
    "TOO_MANY_OPS",
    "etcdserver: too many operations in txn request",
    (client) =>
      stm(client, (tx) => {
        for (let i = 0; i < 129; i++) tx.put(`k${i}`, "");
      }),
  ],
  ["an initialization without a name", "INVALID_REQUEST", "needs a name", (c) => initializeOnce(c, "", () => {})],
  ["an initialization with a bad ttl", "INVALID_REQUEST", "not 0", (c) => initializeOnce(c, "a", () => {}, { ttl: 0 })],
  [
    "a config without a key",
    "EMPTY_KEY",
    "etcdserver: key is not provided",
    (c) => ConfigWatcher.open(c, "", (x) => x),
  ],
  [
    "a config without a validator",
    "INVALID_REQUEST",
    "a validator is a schema",
    (client) => ConfigWatcher.open(client, "a", untyped({}) as ConfigValidator<number>),
  ],
];

describe("bad input to the recipes", () => {
  test.each(TABLE)("%s: %s", async (_name, code, message, ask) => {
    const { client } = await member();
    const session = await Session.open(client, { ttl: 30 });
    const before = await client.get("", { prefix: true });
    const error = await failure(Promise.resolve().then(() => ask(client, session)));
    expect(error).toMatchObject({ code, outcome: "rejected" });
    expect(error.message).toContain(message);
    expect((await client.get("", { prefix: true })).header.revision).toBe(before.header.revision);
    expect((await client.lease.list()).leases).toEqual([session.lease]);
  });
});
