import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterEach, describe, expect, test } from "vitest";
import { encodeUtf8 } from "../../src/base/bytes.ts";
import { StoreError } from "../../src/base/errors.ts";
import { connect } from "../../src/node/connect.ts";
import { Node, type NodeOptions } from "../../src/node/node.ts";

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function scratch(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "quorate-node-"));
  cleanups.push(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

async function open(options: NodeOptions): Promise<Node> {
  const node = await Node.open({ electionTimeoutMs: 500, heartbeatMs: 50, tickMs: 10, ...options });
  cleanups.push(() => node.close({ handOver: false }));
  return node;
}

async function rejection(promise: Promise<unknown>): Promise<StoreError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(StoreError);
  return error as StoreError;
}

describe("Node.open", () => {
  test("without options is a cluster of one in memory that answers at once", async () => {
    const node = await open({});
    const client = node.client();
    const put = await client.put("a", "1");
    expect(put.header.revision).toBe(2);
    const { kvs, count } = await client.get("a");
    expect(count).toBe(1);
    expect(new TextDecoder().decode(kvs[0]!.value)).toBe("1");
  });

  test("with a directory finds everything again after close", async () => {
    const dir = await scratch();
    const first = await open({ dir });
    for (let i = 0; i < 50; i++) await first.client().put(`k${i}`, `v${i}`);
    await first.client().delete("k7");
    const { id } = first;
    await first.close();
    const second = await open({ dir });
    expect(second.id).toBe(id);
    const { count, header } = await second.client().get("k", { prefix: true });
    expect(count).toBe(49);
    expect(header.revision).toBe(52);
  });

  test("a directory in use is refused by name and stays usable", async () => {
    const dir = await scratch();
    const first = await open({ dir });
    const error = await rejection(Node.open({ dir }));
    expect(error.code).toBe("DATA_DIR_IN_USE");
    await first.client().put("still", "here");
  });

  test("close answers the calls that are under way", async () => {
    const node = await open({ dir: await scratch() });
    const client = node.client();
    await client.put("first", "registers the client");
    const puts = Array.from({ length: 200 }, (_, i) => client.put(`k${i}`, "v"));
    // Handed over: the client's calls begin with the next turn.
    await new Promise((resolve) => setImmediate(resolve));
    await node.close();
    expect((await Promise.allSettled(puts)).map(({ status }) => status)).toEqual(puts.map(() => "fulfilled"));
  });

  test.each<readonly [string, NodeOptions]>([
    ["a retention that is none", { autoCompactionRetention: "soon" }],
    ["revisions to keep, without how many", { autoCompactionMode: "revision" }],
    ["half a byte of quota", { quotaBytes: 0.5 }],
    ["half a watcher", { maxWatchers: 0.5 }],
    ["no watchers", { maxWatchers: 0 }],
    ["a bound that is none", { maxPendingBytes: Number.NaN }],
  ])("%s is BAD_CONFIG before anything is created", async (_name, options) => {
    const dir = join(await scratch(), "data");
    expect((await rejection(Node.open({ dir, ...options }))).code).toBe("BAD_CONFIG");
    expect(existsSync(dir)).toBe(false);
  });

  test("lets go of a client that is closed", async () => {
    const node = await open({});
    setFlagsFromString("--expose-gc");
    const collect: () => void = runInNewContext("gc");
    const closed = await Promise.all(
      Array.from({ length: 5 }, async () => {
        const client = node.client();
        await client.put("a", "1");
        await client.close();
        return new WeakRef(client);
      }),
    );
    for (let i = 0; i < 10 && closed.some((client) => client.deref() !== undefined); i++) {
      await new Promise((resolve) => setImmediate(resolve));
      collect();
    }
    expect(closed.filter((client) => client.deref() !== undefined)).toEqual([]);
  });

  test("a signal ends the search for a cluster to join", async () => {
    const sockets: Socket[] = [];
    const giveUp = new AbortController();
    // Somebody listens there and never says a word.
    const silent = createServer((socket) => {
      sockets.push(socket);
      giveUp.abort(new Error("no longer"));
    });
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    cleanups.push(async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => silent.close(() => resolve()));
    });
    const { port } = silent.address() as AddressInfo;
    const joining = open({
      join: { endpoints: [`127.0.0.1:${port}`] },
      listenPeerUrl: "ws://127.0.0.1:0",
      signal: giveUp.signal,
    });
    expect(await rejection(joining)).toMatchObject({ code: "CANCELLED", cause: giveUp.signal.reason });
  });

  test("joining never founds a cluster, whatever lies in the directory", async () => {
    const dir = await scratch();
    await writeFile(join(dir, "notes.txt"), "mine");
    const error = await rejection(
      Node.open({
        dir,
        listenPeerUrl: "ws://127.0.0.1:0",
        join: { endpoints: [`127.0.0.1:${await freePort()}`] },
      }),
    );
    expect(error.code).toBe("UNAVAILABLE");
  });

  test("a signal that is aborted already is a named error", async () => {
    expect((await rejection(Node.open({ signal: AbortSignal.abort() }))).code).toBe("CANCELLED");
  });

  test("a port in use is refused by name", async () => {
    const first = await open({ listenClientUrl: "ws://127.0.0.1:0" });
    const error = await rejection(Node.open({ listenClientUrl: first.clientUrl }));
    expect(error.code).toBe("ADDRESS_IN_USE");
  });

  test("listening off loopback without a secret is refused", async () => {
    const error = await rejection(Node.open({ listenPeerUrl: "ws://0.0.0.0:0" }));
    expect(error.code).toBe("BAD_CONFIG");
  });

  test("grows from one embedded member to three without stopping, and survives the loss of the first", async () => {
    const one = await open({ name: "n1", listenClientUrl: "ws://127.0.0.1:0", listenPeerUrl: "ws://127.0.0.1:0" });
    const client = one.client();
    await client.put("before", "growth");
    const joiners: Node[] = [];
    for (const name of ["n2", "n3"]) {
      const peerUrl = `ws://127.0.0.1:${await freePort()}`;
      await until(async () => {
        try {
          await client.members.add([peerUrl]);
          return true;
        } catch (error) {
          // A second growth waits until the first newcomer counts as healthy, as in etcd.
          if (StoreError.is(error, "UNHEALTHY") || StoreError.is(error, "MEMBER_NOT_ENOUGH_STARTED")) return false;
          throw error;
        }
      });
      joiners.push(
        await open({
          name,
          listenPeerUrl: peerUrl,
          listenClientUrl: "ws://127.0.0.1:0",
          join: { endpoints: [one.clientUrl!] },
        }),
      );
      await client.put(name, "joined");
    }
    const { members } = await client.members.list();
    expect(members.length).toBe(3);
    await one.close();
    await using outside = await connect({ endpoints: joiners.map((node) => node.clientUrl!) });
    const { kvs } = await outside.get("before");
    expect(kvs.length).toBe(1);
    await outside.put("after", "loss");
  });
});

async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setImmediate(resolve));
}

async function freePort(): Promise<number> {
  const { createServer } = await import("node:net");
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() =>
        typeof address === "object" && address !== null ? resolve(address.port) : reject(new Error("no port")),
      );
    });
  });
}

describe("leases", () => {
  test("in process and over a socket alike; a restart keeps them, and they end by themselves", async () => {
    const dir = await scratch();
    const options = { dir, listenClientUrl: "ws://127.0.0.1:0" };
    const node = await open(options);
    const near = node.client();
    const far = await connect({ endpoints: [node.clientUrl!] });
    cleanups.push(() => far.close());
    for (const client of [near, far]) {
      const { id, ttl } = await client.lease.grant(1);
      expect(ttl).toBe(1);
      await client.put("kept", "1", { lease: id });
      const answers: number[] = [];
      for await (const { ttl: left, deadline } of client.lease.keepAlive(id)) {
        expect(deadline).toBeGreaterThan(0);
        if (answers.push(left) === 5) break;
      }
      // Longer than the TTL has passed: four pauses of a third of it.
      expect(await client.lease.timeToLive(id, { keys: true })).toMatchObject({
        grantedTtl: 1,
        keys: [encodeUtf8("kept")],
      });
      await client.lease.revoke(id);
      expect((await client.get("kept")).count).toBe(0);
    }
    const { id } = await near.lease.grant(2);
    await near.put("left", "1", { lease: id });
    await node.close();

    const again = await open(options);
    const client = again.client();
    expect((await client.lease.list()).leases).toEqual([id]);
    expect((await client.get("left")).count).toBe(1);
    const kept = client.lease.keepAlive(id);
    await kept.next();
    await kept.return();
    const events = client.watch("left");
    for await (const batch of events) {
      expect(batch.events).toMatchObject([{ type: "delete", expired: true }]);
      break;
    }
    expect((await client.lease.list()).leases).toEqual([]);
  });
});

describe("answers within the process", () => {
  test("are in bytes of their own, whatever the way that they came", async () => {
    const node = await open({});
    const client = node.client();
    const long = "x".repeat(2_000);
    for (const value of ["short", long]) {
      await client.put("k", value);
      const serializable = { serializable: true };
      const answers = [
        await client.get("k", serializable),
        await client.get("k"),
        await client.get("k", { prefix: true }),
        await client.get("k", { sort: { by: "value" }, keysOnly: true, serializable: true }),
        await client.namespace("").get("k", serializable),
      ].flatMap(({ kvs }) => kvs);
      const { prevKv } = await client.put("k", value, { prevKv: true });
      expect([prevKv, ...answers].map((kv) => kv?.keyText())).toEqual(Array(6).fill("k"));
      for (const kv of [prevKv!, ...answers]) {
        kv.key.fill(0);
        kv.value.fill(0);
      }
      expect((await client.get("k", serializable)).kvs[0]!.text()).toBe(value);
      expect((await client.get("k", { prefix: true })).kvs[0]!.text()).toBe(value);
    }
  });

  test("a serializable read of one key refuses what any other call refuses", async () => {
    const node = await open({});
    const client = node.client();
    const serializable = true;
    await client.put("k", "1");
    await client.put("k", "2");
    await client.compact(3);
    const codeOf = async (promise: Promise<unknown>): Promise<string> => (await rejection(promise)).code;
    expect(await codeOf(client.get("", { serializable }))).toBe("EMPTY_KEY");
    expect(await codeOf(client.get("k", { serializable, revision: 2 }))).toBe("COMPACTED");
    expect(await codeOf(client.get("k", { serializable, revision: 9 }))).toBe("FUTURE_REVISION");
    expect(await codeOf(client.get("k", { serializable, timeoutMs: 0 }))).toBe("INVALID_REQUEST");
    expect(await codeOf(client.get("k", { serializable, signal: AbortSignal.abort() }))).toBe("CANCELLED");
    await client.close();
    expect(await codeOf(client.get("k", { serializable }))).toBe("CANCELLED");
    const other = node.client();
    await node.close();
    expect(["CANCELLED", "STOPPED"]).toContain(await codeOf(other.get("k", { serializable })));
  });
});
