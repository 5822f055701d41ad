/** Whatever a stranger or a careless program sends: one named error, that connection alone, and nothing changes. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { StoreError } from "../../src/base/errors.ts";
import { leaseId, type MemberId, memberId } from "../../src/base/ids.ts";
import type { Client } from "../../src/client/client.ts";
import { compare, op } from "../../src/client/txn.ts";
import { connect } from "../../src/node/connect.ts";
import { Node } from "../../src/node/node.ts";

let node: Node;
let client: Client;

beforeAll(async () => {
  node = await Node.open({
    listenClientUrl: "ws://127.0.0.1:0",
    listenPeerUrl: "ws://127.0.0.1:0",
    secret: "the secret",
  });
  client = await connect({ endpoints: [node.clientUrl!], maxSendBytes: 8 << 20 });
  await client.put("k", "v");
});

afterAll(async () => {
  await client.close();
  await node.close();
});

async function revision(): Promise<number> {
  return (await node.client().get("k")).header.revision;
}

describe("a bad request", () => {
  const many = Array.from({ length: 129 }, (_, i) => op.put(`k${i}`, ""));
  const table: readonly (readonly [string, string, string, () => Promise<unknown>])[] = [
    ["an empty key", "EMPTY_KEY", "etcdserver: key is not provided", () => client.put("", "v")],
    ["an empty key to read", "EMPTY_KEY", "etcdserver: key is not provided", () => client.get("")],
    ["an empty key to delete", "EMPTY_KEY", "etcdserver: key is not provided", () => client.delete("")],
    [
      "a value of 1.6 MiB",
      "REQUEST_TOO_LARGE",
      "etcdserver: request is too large",
      () => client.put("k", "x".repeat(1_677_722)),
    ],
    [
      "a key of 1.6 MiB",
      "REQUEST_TOO_LARGE",
      "etcdserver: request is too large",
      () => client.put("k".repeat(1_677_722), ""),
    ],
    [
      "an alarm of a member 0",
      "INVALID_REQUEST",
      "quorate: the request is malformed: an alarm stands for a member",
      () => node.client().alarms.activate({ member: 0n as MemberId, alarm: "nospace" }),
    ],
    [
      "an alarm that nothing raises",
      "INVALID_REQUEST",
      "quorate: the request is malformed: a corrupt alarm cannot be raised",
      () => client.alarms.activate({ member: memberId(1n), alarm: "corrupt" }),
    ],
    [
      "a lease that does not exist",
      "LEASE_NOT_FOUND",
      "etcdserver: requested lease not found",
      () => client.put("k", "v", { lease: leaseId(7n) }),
    ],
    [
      "a TTL too large",
      "LEASE_TTL_TOO_LARGE",
      "etcdserver: too large lease TTL",
      () => client.lease.grant(9_000_000_001),
    ],
    [
      "a lease id that is taken",
      "LEASE_EXISTS",
      "etcdserver: lease already exists",
      async () => {
        await client.lease.grant(60, { id: leaseId(5n) }).catch(() => {});
        return client.lease.grant(60, { id: leaseId(5n) });
      },
    ],
    [
      "a lease to revoke that does not exist",
      "LEASE_NOT_FOUND",
      "etcdserver: requested lease not found",
      () => client.lease.revoke(leaseId(7n)),
    ],
    [
      "a lease to keep alive that does not exist",
      "LEASE_NOT_FOUND",
      "etcdserver: requested lease not found",
      () => client.lease.keepAliveOnce(leaseId(7n)),
    ],
    [
      "a value with ignoreValue",
      "VALUE_PROVIDED",
      "etcdserver: value is provided",
      () => client.put("k", "v", { ignoreValue: true }),
    ],
    [
      "ignoreValue for an absent key",
      "KEY_NOT_FOUND",
      "etcdserver: key not found",
      () => client.put("absent", "", { ignoreValue: true }),
    ],
    [
      "a future revision",
      "FUTURE_REVISION",
      "etcdserver: mvcc: required revision is a future revision",
      () => client.get("k", { revision: 999 }),
    ],
    [
      "a compaction of the future",
      "FUTURE_REVISION",
      "etcdserver: mvcc: required revision is a future revision",
      () => client.compact(999),
    ],
    [
      "a txn with one key twice",
      "DUPLICATE_KEY",
      "etcdserver: duplicate key given in txn request",
      () => client.txn().then(op.put("a", "1"), op.put("a", "2")).commit(),
    ],
    [
      "a txn of 129 operations",
      "TOO_MANY_OPS",
      "etcdserver: too many operations in txn request",
      () =>
        client
          .txn()
          .then(...many)
          .commit(),
    ],
    [
      "a txn that compares an empty key",
      "EMPTY_KEY",
      "etcdserver: key is not provided",
      () =>
        client
          .txn()
          .if(compare.version("", "=", 0))
          .then(op.put("a", "1"))
          .commit(),
    ],
    [
      "a member with a bad address",
      "MEMBER_BAD_URLS",
      "etcdserver: given member URLs are invalid",
      () => client.members.add(["nowhere"]),
    ],
    [
      "a member that would move to a bad address",
      "MEMBER_BAD_URLS",
      "etcdserver: given member URLs are invalid",
      () => client.members.update(node.id, ["ws://127.0.0.1:99999"]),
    ],
    [
      "half a character",
      "INVALID_REQUEST",
      "quorate: the request is malformed: the key is not well-formed text",
      () => client.put("\ud800", "v"),
    ],
    [
      "removal of an unknown member",
      "MEMBER_NOT_FOUND",
      "etcdserver: member not found",
      () => client.members.remove(memberId(1n)),
    ],
  ];

  test.each(table)("%s ends %s", async (_, code, message, call) => {
    const before = await revision();
    const error = await call().then(
      (value) => expect.fail(`answered: ${String(value)}`),
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(StoreError);
    expect({
      code: (error as StoreError).code,
      message: (error as StoreError).message,
      outcome: (error as StoreError).outcome,
    }).toEqual({
      code,
      message,
      outcome: "rejected",
    });
    expect(await revision()).toBe(before);
  });
});

/** Connects as a stranger would, sends, and waits for the end. */
function stranger(
  url: string,
  frames: readonly (Uint8Array | string)[],
  headers: Record<string, string> = {},
): Promise<string> {
  return new Promise((resolve) => {
    const socket = new WebSocket(url, { headers, perMessageDeflate: false });
    socket.on("open", () => {
      for (const frame of frames) socket.send(frame);
    });
    socket.on("unexpected-response", (_request, response) => resolve(`HTTP ${response.statusCode}`));
    socket.on("close", (code, reason) => resolve(`${code} ${reason.toString()}`));
    socket.on("error", () => {});
  });
}

describe("a hostile connection", () => {
  const noise = Uint8Array.from({ length: 4_096 }, (_, i) => (i * 197 + 13) & 0xff);
  const hostile: readonly (readonly [string, readonly (Uint8Array | string)[]])[] = [
    ["an empty frame, then noise", [new Uint8Array(0), noise]],
    ["noise", [noise]],
    ["text", ["hello"]],
    ["a length beyond the frame", [Uint8Array.of(0xff, 0xff, 0xff, 0xff, 1)]],
    ["70 MB", [new Uint8Array(70 << 20)]],
  ];

  test.each(hostile)("%s to the client door ends that connection only", async (_, frames) => {
    const before = await revision();
    expect(await stranger(node.clientUrl!, frames)).toMatch(/^\d{4} /);
    await client.get("k");
    expect(await revision()).toBe(before);
  });

  test.each(hostile)("%s to the peer door ends that connection only", async (_, frames) => {
    const before = await revision();
    expect(await stranger(node.peerUrl!, frames)).toMatch(/^\d{4} /);
    await client.get("k");
    expect(await revision()).toBe(before);
  });

  test("a foreign origin is refused at both doors", async () => {
    const headers = { origin: "https://evil.example" };
    expect(await stranger(node.clientUrl!, [], headers)).toBe("HTTP 403");
    expect(await stranger(node.peerUrl!, [], headers)).toBe("HTTP 403");
  });
});

test.each(["keepAliveTimeMs", "keepAliveTimeoutMs", "maxSendBytes", "maxReceiveBytes", "timeoutMs", "dialTimeoutMs"])(
  "connect names %s where it cannot be",
  async (name) => {
    for (const value of [0, -1, Number.NaN]) {
      const error: unknown = await connect({ endpoints: ["127.0.0.1:1"], [name]: value }).catch((reason) => reason);
      expect(error).toMatchObject({ code: "BAD_CONFIG", message: expect.stringContaining(name) });
    }
  },
);

test("health, readiness and metrics are served on the client port", async () => {
  const url = node.clientUrl!.replace("ws://", "http://");
  const health = await fetch(`${url}/health`);
  expect([health.status, await health.json()]).toEqual([200, { health: "true", reason: "" }]);
  expect((await fetch(`${url}/readyz`)).status).toBe(200);
  const metrics = await (await fetch(`${url}/metrics`)).text();
  for (const name of [
    "etcd_server_has_leader 1",
    "etcd_server_leader_changes_seen_total",
    "etcd_server_proposals_committed_total",
    "etcd_disk_wal_fsync_duration_seconds_count",
    "etcd_network_peer_round_trip_time_seconds",
    "etcd_mvcc_db_total_size_in_bytes",
    "quorate_event_loop_delay_p99_seconds",
  ]) {
    expect(metrics).toContain(name);
  }
  expect((await fetch(`${url}/nowhere`)).status).toBe(404);
});
