/** Backups through the library: saved from a member, restored into new directories, opened again. */
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { StoreError } from "../../src/base/errors.ts";
import { prng, randomInt } from "../../src/base/prng.ts";
import type { Client } from "../../src/client/client.ts";
import { connect } from "../../src/node/connect.ts";
import { Node } from "../../src/node/node.ts";
import { restoreSnapshot, saveSnapshot, snapshotStatus } from "../../src/node/snapshot.ts";
import { testSeed } from "../support/seed.ts";

const seed = testSeed();

async function temporary(): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), "quorate-snapshot-"));
  onTestFinished(() => rm(root, { recursive: true, force: true, maxRetries: 5 }));
  return root;
}

async function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() =>
        typeof address === "object" && address !== null ? resolve(address.port) : reject(new Error("no port")),
      );
    });
  });
}

async function open(options: Parameters<typeof Node.open>[0] = {}): Promise<{ node: Node; client: Client }> {
  const node = await Node.open(options);
  onTestFinished(() => node.close({ handOver: false }));
  return { node, client: node.client() };
}

/** Keys with a past, a deleted one, and a lease; compacted a little. */
async function fill(client: Client): Promise<{ lease: bigint }> {
  for (let i = 0; i < 50; i++) await client.put(`k${i % 20}`, `value ${i} ${"x".repeat(i * 40)}`);
  await client.delete("k7");
  const { id } = await client.lease.grant(5_000);
  await client.put("leased", "1", { lease: id });
  await client.compact(10);
  return { lease: id };
}

const code = async (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "done",
    (error) => (StoreError.is(error) ? error.code : String(error)),
  );

test("a member alone, saved and restored: the keys, the lease with its whole TTL, and a revision moved on", async () => {
  const root = await temporary();
  const { node, client } = await open();
  const { lease } = await fill(client);
  const before = await client.get("", { prefix: true });
  const file = join(root, "a.snap");
  const progress: number[] = [];
  const saved = await saveSnapshot(client, file, { onProgress: (bytes, about) => void progress.push(bytes / about) });
  expect(saved).toEqual(await snapshotStatus(file));
  expect(saved).toMatchObject({ revision: before.header.revision, memberId: node.id, compactRevision: 10 });
  expect(saved.bytes).toBe((await readFile(file)).length);
  expect(progress.length).toBeGreaterThan(0);
  expect(Math.max(...progress)).toBeLessThanOrEqual(1);
  expect(await readdir(root)).toEqual(["a.snap"]);

  const dir = join(root, "restored");
  const restored = await restoreSnapshot({ file, dir });
  expect(restored.revision).toBe(saved.revision + 1_000_000_000);
  expect(restored.clusterId).not.toBe(before.header.clusterId);
  const again = await open({ dir });
  expect(again.node.id).toBe(restored.memberId);
  const after = await again.client.get("", { prefix: true });
  expect(after.kvs).toEqual(before.kvs);
  expect(after.header.revision).toBe(restored.revision);
  expect(after.header.clusterId).toBe(restored.clusterId);
  // The member that was the old cluster is none of this one.
  expect((await again.client.members.list()).members.map(({ id }) => id)).toEqual([restored.memberId]);

  const { ttl, grantedTtl, keys } = await again.client.lease.timeToLive(lease as never, { keys: true });
  expect(grantedTtl).toBe(5_000);
  expect(ttl).toBeGreaterThan(4_990);
  expect(keys.map((key) => Buffer.from(key).toString())).toEqual(["leased"]);
  await again.client.lease.revoke(lease as never);
  expect((await again.client.get("leased")).kvs).toEqual([]);

  // Whoever stands anywhere in the old history is told that it is gone.
  for (const startRevision of [11, before.header.revision, before.header.revision + 500, restored.revision - 1]) {
    await using watch = again.client.watch("", { prefix: true, startRevision });
    await expect(watch.next()).rejects.toMatchObject({
      code: "COMPACTED",
      details: { compactRevision: restored.revision },
    });
  }
  expect(await code(again.client.get("k1", { revision: before.header.revision }))).toBe("COMPACTED");
  expect((await again.client.put("new", "1")).revision).toBe(restored.revision + 2);
});

test("with a bump of 0 the revision and its history are the old ones", async () => {
  const root = await temporary();
  const { client } = await open();
  await fill(client);
  const file = join(root, "a.snap");
  const { revision } = await saveSnapshot(client, file);
  const hash = await client.hashKv("");
  const then = await client.get("", { prefix: true, revision: 30 });
  // What comes later is not in it.
  await client.put("later", "1");

  const dir = join(root, "restored");
  await restoreSnapshot({ file, dir, bumpRevision: 0 });
  const again = await open({ dir });
  expect((await again.client.get("", { prefix: true, revision: 30 })).kvs).toEqual(then.kvs);
  expect(await again.client.hashKv("")).toMatchObject({ hash: hash.hash, hashRevision: revision, compactRevision: 10 });
  await using watch = again.client.watch("k7", { startRevision: 11 });
  expect((await watch.next()).value?.events.map(({ type }) => type)).toEqual(["put", "put", "delete"]);
  expect((await again.client.put("later", "2")).revision).toBe(revision + 1);
});

test("three members restored from one file are one cluster, and agree", async () => {
  const root = await temporary();
  const { client } = await open();
  await fill(client);
  const file = join(root, "a.snap");
  const saved = await saveSnapshot(client, file);
  const peers: { name: string; peerUrl: string }[] = [];
  for (const name of ["n1", "n2", "n3"]) peers.push({ name, peerUrl: `ws://127.0.0.1:${await freePort()}` });
  const token = "after the fire";
  for (const { name } of peers) {
    const { revision } = await restoreSnapshot({ file, dir: join(root, name), name, peers, token, bumpRevision: 500 });
    expect(revision).toBe(saved.revision + 500);
  }
  // Restored members wait for nobody: two of them are a majority.
  const listenClientUrl = "ws://127.0.0.1:0";
  const start = (name: string) => open({ name, peers, token, dir: join(root, name), listenClientUrl });
  const two = [await start("n1"), await start("n2")];
  expect((await two[0]!.client.put("while two", "1", { timeoutMs: 20_000 })).revision).toBe(saved.revision + 501);
  const nodes = [...two, await start("n3")].map(({ node }) => node);
  const near = await connect({ endpoints: nodes.map(({ clientUrl }) => clientUrl!) });
  onTestFinished(() => near.close());
  await near.put("all three", "1", { timeoutMs: 20_000 });
  const before = await client.get("", { prefix: true });
  for (const node of nodes) {
    const { kvs } = await node.client().get("", { prefix: true, timeoutMs: 20_000 });
    expect(kvs.filter(({ modRevision }) => modRevision <= saved.revision)).toEqual(before.kvs);
  }
  const asked = nodes.map(({ clientUrl }) => near.status(clientUrl!));
  const states = await Promise.all(asked);
  const hashes = new Set(states.map((s) => `${s.raftAppliedIndex} ${s.stateHash}`));
  expect(new Set(states.map((s) => s.raftAppliedIndex)).size).toBe(hashes.size);
  const kv = await Promise.all(
    nodes.map(({ clientUrl }) => near.hashKv(clientUrl!, { revision: saved.revision + 502 })),
  );
  expect(new Set(kv.map(({ hash }) => hash)).size).toBe(1);

  // With the old token the member's directory is another cluster's.
  expect(await code(Node.open({ name: "n1", peers, dir: join(root, "n1"), token: "another" }))).toMatch(
    /DATA_DIR_MISMATCH|DATA_DIR_IN_USE/,
  );
});

test("what cannot be restored changes nothing", async () => {
  const root = await temporary();
  const { client } = await open();
  await fill(client);
  const file = join(root, "a.snap");
  await saveSnapshot(client, file);
  const dir = join(root, "dir");
  const one = { name: "n1", peerUrl: "ws://127.0.0.1:1" };
  expect(await code(restoreSnapshot({ file: join(root, "absent"), dir }))).toBe("DISK_FAILED");
  for (const bumpRevision of [-1, 0.5, Number.NaN, 2 ** 53]) {
    expect(await code(restoreSnapshot({ file, dir, bumpRevision })), String(bumpRevision)).toBe("BAD_CONFIG");
  }
  expect(await code(restoreSnapshot({ file, dir, bumpRevision: 0, markCompacted: true }))).toBe("BAD_CONFIG");
  expect(await code(restoreSnapshot({ file, dir, bumpRevision: 5, markCompacted: false }))).toBe("BAD_CONFIG");
  expect(await code(restoreSnapshot({ file, dir, name: "n2", peers: [one], token: "t" }))).toBe("BAD_CONFIG");
  expect(await code(restoreSnapshot({ file, dir, name: "n1", peers: [one] }))).toBe("BAD_CONFIG");
  expect(await readdir(root)).toEqual(["a.snap"]);

  await mkdir(dir);
  await writeFile(join(dir, "notes.txt"), "mine");
  expect(await code(restoreSnapshot({ file, dir }))).toBe("DATA_DIR_NOT_EMPTY");
  expect(await readdir(dir)).toEqual(["notes.txt"]);
  const lives = join(root, "lives");
  await (await Node.open({ dir: lives })).close();
  const names = await readdir(lives);
  expect(await code(restoreSnapshot({ file, dir: lives }))).toBe("DATA_DIR_NOT_EMPTY");
  expect(await readdir(lives)).toEqual(names);
});

test("the ids of the old cluster are refused: members of both could meet", async () => {
  const root = await temporary();
  const peers = [{ name: "n1", peerUrl: `ws://127.0.0.1:${await freePort()}` }];
  const { client } = await open({ name: "n1", peers, token: "first" });
  await client.put("a", "1");
  const file = join(root, "a.snap");
  await saveSnapshot(client, file);
  const dir = join(root, "n1");
  expect(await code(restoreSnapshot({ file, dir, name: "n1", peers, token: "first" }))).toBe("BAD_CONFIG");
  expect(await code(restoreSnapshot({ file, dir, name: "n1", peers, token: "second" }))).toBe("done");
});

test(`a file that is short, damaged or foreign is refused by name, and nothing is made of it (seed ${seed})`, async () => {
  const root = await temporary();
  const { client } = await open();
  await fill(client);
  const file = join(root, "a.snap");
  await saveSnapshot(client, file);
  const whole = await readFile(file);
  const spoilt = join(root, "spoilt.snap");
  const dir = join(root, "dir");
  const random = prng(seed);
  const cuts = [0, 1, 7, 8, 12, 40, whole.length - 33, whole.length - 32, whole.length - 1];
  for (let i = 0; i < 40; i++) cuts.push(randomInt(random, 0, whole.length - 1));
  for (const cut of cuts) {
    await writeFile(spoilt, whole.subarray(0, cut));
    expect(await code(snapshotStatus(spoilt)), `cut at ${cut}`).toBe("SNAPSHOT_CORRUPT");
  }
  for (let i = 0; i < 120; i++) {
    const at = i < 60 ? i : randomInt(random, 0, whole.length - 1);
    const bytes = Buffer.from(whole);
    bytes[at]! ^= 1 << randomInt(random, 0, 7);
    await writeFile(spoilt, bytes);
    expect(await code(snapshotStatus(spoilt)), `flipped at ${at}`).toMatch(/^(SNAPSHOT_CORRUPT|FORMAT_TOO_NEW)$/);
    if (i % 10 === 0) {
      expect(await code(restoreSnapshot({ file: spoilt, dir }))).toMatch(/^(SNAPSHOT_CORRUPT|FORMAT_TOO_NEW)$/);
    }
  }
  await writeFile(spoilt, Buffer.concat([whole, whole]));
  expect(await code(snapshotStatus(spoilt))).toBe("SNAPSHOT_CORRUPT");
  await writeFile(spoilt, "PK\x03\x04 something else altogether, and long enough to be a head and a digest");
  await expect(snapshotStatus(spoilt)).rejects.toMatchObject({
    code: "SNAPSHOT_CORRUPT",
    message: "quorate: the snapshot cannot be used: it is no snapshot of quorate",
  });
  expect(await readdir(root)).toEqual(["a.snap", "spoilt.snap"]);
});

test("a save that is interrupted leaves what was there before", async () => {
  const root = await temporary();
  const { node, client } = await open({ listenClientUrl: "ws://127.0.0.1:0" });
  await fill(client);
  const file = join(root, "a.snap");
  await saveSnapshot(client, file);
  const before = await readFile(file);
  for (let i = 0; i < 60; i++) await client.put(`big${i}`, `${"y".repeat(30_000)}${i}`);

  const far = await connect({ endpoints: [node.clientUrl!] });
  onTestFinished(() => far.close());
  const stop = new AbortController();
  const aborted = saveSnapshot(far, file, { signal: stop.signal, onProgress: () => stop.abort() });
  expect(await code(aborted)).toBe("CANCELLED");
  expect(await readFile(file)).toEqual(before);
  expect(await code(saveSnapshot(far, join(root, "no", "such", "dir.snap")))).toBe("DISK_FAILED");
  const lost = saveSnapshot(far, file, { onProgress: () => void far.close() });
  expect(await code(lost)).toBe("CANCELLED");
  expect(await readFile(file)).toEqual(before);
  expect(await readdir(root)).toEqual(["a.snap"]);

  const third = await connect({ endpoints: [node.clientUrl!] });
  onTestFinished(() => third.close());
  const stopped = saveSnapshot(third, file, { onProgress: () => void node.close({ handOver: false }) });
  expect(await code(stopped)).toMatch(/^(CONNECTION_LOST|STOPPED)$/);
  expect(await readFile(file)).toEqual(before);
  expect(await readdir(root)).toEqual(["a.snap"]);
});
