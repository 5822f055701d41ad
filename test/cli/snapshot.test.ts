/** Backups with real processes: the commands of docs/backup.md, saved under load, restored, started. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { barText } from "../../src/cli/progress.ts";
import { connect } from "../../src/node/connect.ts";
import { freeBlock } from "../../src/platform/node/ports.ts";
import { quorate, start, startCluster, temporaryDir } from "./run.ts";

/** The commands of the page's blocks, without `npx quorate`. */
const COMMANDS = [...readFileSync("docs/backup.md", "utf8").matchAll(/^npx quorate (.+)$/gm)].map(([, line]) =>
  line!.split(" "),
);

test("saved under load, looked into, restored as three members, started: all is there", async () => {
  const dir = temporaryDir();
  const { launcher, endpoints } = await startCluster(join(dir, "old"));
  const client = await connect({ endpoints: endpoints.split(",") });
  onTestFinished(() => client.close());
  const { id: lease } = await client.lease.grant(3_000);
  await client.put("leased", "1", { lease });

  // Writers, each with keys of its own: what was acknowledged before the save is in it.
  let stopped = false;
  const acknowledged: number[] = [];
  const writers = Array.from({ length: 10 }, async (_, w) => {
    for (let n = 0; !stopped; n++) {
      await client.put(`load/${w}/${n}`, `${"x".repeat(500)}${n}`, { timeoutMs: 20_000 });
      acknowledged[w] = n;
    }
  });
  while (acknowledged.length < 10 || acknowledged.some((n) => n < 20)) await new Promise((r) => setImmediate(r));

  const members = await client.members.list();
  const leader = (await client.status(endpoints.split(",")[0]!)).leader;
  const leaderUrl = members.members.find(({ id }) => id === leader)!.clientUrls[0]!.replace("ws://", "");
  const run = (words: readonly string[]) =>
    quorate(
      words.map((word) => word.replace("127.0.0.1:7400", leaderUrl)),
      { cwd: dir },
    );
  const [saveWords, statusWords, restoreWords, clusterWords, oneWords, aloneWords] = COMMANDS;
  const before = [...acknowledged];
  const saved = await run(saveWords!);
  expect(saved).toMatchObject({ code: 0, stderr: "" });
  expect(saved.stdout).toMatch(/^Snapshot saved at backup\.snap\nServer version \d+\.\d+\.\d+\n$/);
  stopped = true;
  await Promise.all(writers);

  const table = await run(statusWords!);
  expect(table.stdout).toMatch(/^\+-.*\n\| +HASH +\| +REVISION +\| +TOTAL KEYS +\| +TOTAL SIZE +\| +VERSION +\|/);
  const json = JSON.parse((await run(["snapshot", "status", "backup.snap", "-w", "json"])).stdout) as {
    hash: number;
    revision: number;
    totalKey: number;
    totalSize: number;
    version: string;
  };
  expect(Object.keys(json)).toEqual(["hash", "revision", "totalKey", "totalSize", "version"]);
  expect(json.totalSize).toBe(readFileSync(join(dir, "backup.snap")).length);
  expect((await run(["snapshot", "status", "backup.snap"])).stdout).toMatch(
    new RegExp(`^${json.hash.toString(16)}, ${json.revision}, ${json.totalKey}, [0-9.]+ [kM]B, ${json.version}\n$`),
  );
  expect((await run(["snapshot", "status", "backup.snap", "-w", "fields"])).stdout).toBe(
    `"Hash" : ${json.hash}\n"Revision" : ${json.revision}\n"Keys" : ${json.totalKey}\n"Size" : ${json.totalSize}\n"Version" : ${json.version}\n`,
  );
  const then = await client.get("", { prefix: true, revision: json.revision, timeoutMs: 20_000 });
  const after = await client.get("", { prefix: true, timeoutMs: 20_000 });
  expect(after.header.revision).toBeGreaterThan(json.revision);
  for (const [w, n] of before.entries()) {
    expect(then.kvs.some((kv) => kv.keyText() === `load/${w}/${n}`)).toBe(true);
  }
  launcher.kill("SIGTERM");
  await launcher.ended;

  // The old token is refused, and nothing is made.
  const base = await freeBlock(6);
  const config = (token: string): string =>
    JSON.stringify({
      token,
      dir: "restored",
      members: ["n1", "n2", "n3"].map((name, i) => ({
        name,
        clientUrl: `ws://127.0.0.1:${base + 2 * i}`,
        peerUrl: `ws://127.0.0.1:${base + 2 * i + 1}`,
      })),
    });
  writeFileSync(join(dir, "restored.config.json"), config("quorate-cluster"));
  const sameIds = await run(restoreWords!);
  expect(sameIds).toMatchObject({ code: 128, stdout: "" });
  expect(sameIds.stderr).toMatch(/^Error: .*choose another cluster token.*\n$/);
  expect(existsSync(join(dir, "restored"))).toBe(false);

  writeFileSync(join(dir, "restored.config.json"), config("second"));
  const restored = await run(restoreWords!);
  expect(restored).toMatchObject({ code: 0, stdout: "" });
  expect(restored.stderr.trimEnd().split("\n")).toHaveLength(3);
  expect(readdirSync(join(dir, "restored"))).toEqual(["n1", "n2", "n3"]);
  const twice = await run(restoreWords!);
  expect(twice).toMatchObject({ code: 1, stderr: expect.stringMatching(/^Error: .*not empty.*\n$/) });

  const again = start([...clusterWords!, "--json"], { cwd: dir });
  await again.until(({ stdout }) => stdout.includes("\n"));
  const urls = [0, 1, 2].map((i) => `127.0.0.1:${base + 2 * i}`);
  const anew = await connect({ endpoints: urls });
  onTestFinished(() => anew.close());
  const found = await anew.get("", { prefix: true, timeoutMs: 20_000 });
  expect(found.kvs).toEqual(then.kvs);
  expect(found.header.revision).toBe(json.revision + 1_000_000_000);
  expect(found.header.revision).toBeGreaterThan(after.header.revision);
  const { ttl, grantedTtl } = await anew.lease.timeToLive(lease);
  expect(grantedTtl).toBe(3_000);
  expect(ttl).toBeGreaterThan(2_900);
  await using watch = anew.watch("load/", { prefix: true, startRevision: json.revision });
  await expect(watch.next()).rejects.toMatchObject({ code: "COMPACTED" });
  const written = await anew.put("after", "1", { timeoutMs: 20_000 });
  expect(written.revision).toBe(found.header.revision + 1);
  // Each member reads up to there first, then tells its hash.
  const hashes: number[] = [];
  for (const url of urls) {
    await using own = await connect({ endpoints: [url] });
    await own.get("after", { timeoutMs: 20_000 });
    hashes.push((await own.hashKv(url, { revision: written.revision })).hash);
  }
  expect(new Set(hashes).size).toBe(1);

  // The page's other two commands.
  expect(await run(oneWords!)).toMatchObject({ code: 0 });
  expect(await run(aloneWords!)).toMatchObject({ code: 0 });
  expect(readdirSync(join(dir, "data", "n1"))).toEqual(["state-1", "tail", "wal"]);
  expect(readdirSync(join(dir, "data", "alone"))).toEqual(["state-1", "tail", "wal"]);
});

test("what goes wrong: a named error, etcdctl's exit codes, and nothing changed", async () => {
  const dir = temporaryDir();
  const port = await freeBlock(1);
  const away = await quorate(
    ["snapshot", "save", "a.snap", "--endpoints", `127.0.0.1:${port}`, "--dial-timeout", "500ms"],
    { cwd: dir },
  );
  expect(away).toMatchObject({ code: 5, stdout: "" });
  expect(away.stderr).toMatch(/^Error: .*\n$/);
  writeFileSync(join(dir, "foreign.snap"), "no snapshot at all");
  for (const words of [
    ["status", "foreign.snap"],
    ["restore", "foreign.snap", "--data-dir", "new"],
  ]) {
    const ran = await quorate(["snapshot", ...words], { cwd: dir });
    expect(ran).toEqual({
      code: 1,
      stdout: "",
      stderr: "Error: quorate: the snapshot cannot be used: it is no snapshot of quorate\n",
    });
  }
  expect(readdirSync(dir)).toEqual(["foreign.snap"]);
});

test("the progress bar", () => {
  const plain = String;
  expect(barText(0, 60, 0, plain)).toBe(`0 / 60 [>${"_".repeat(29)}] 0.00% 0s`);
  expect(barText(12, 60, 12.7, plain)).toBe(`12 / 60 [${"-".repeat(6)}>${"_".repeat(23)}] 20.00% 12s`);
  expect(barText(60, 60, 60, plain)).toBe(`60 / 60 [${"-".repeat(30)}] 100.00% 60s`);
});
