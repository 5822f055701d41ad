import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { engineOptions } from "../../src/cli/launcher.ts";
import { isAlive, quorate, start, startCluster, temporaryDir } from "./run.ts";

const gone = (pids: readonly number[]): Promise<void> =>
  vi.waitFor(() => expect(pids.filter(isAlive)).toEqual([]), { timeout: 20_000, interval: 50 });

test("a cluster starts, serves every command, stops on one SIGTERM and finds everything again", async () => {
  const dir = temporaryDir();
  const { launcher, ready, endpoints } = await startCluster(dir);

  expect(launcher.stdout.trimEnd().split("\n")).toHaveLength(1);
  expect(Object.keys(ready)).toEqual(["event", "leader", "members"]);
  expect(ready.members.map((member) => member.name)).toEqual(["n1", "n2", "n3"]);
  expect(ready.members.map((member) => member.name)).toContain(ready.leader);
  for (const [i, member] of ready.members.entries()) {
    expect(Object.keys(member)).toEqual(["name", "pid", "clientUrl", "peerUrl", "dir"]);
    expect(isAlive(member.pid)).toBe(true);
    const proc = `/proc/${member.pid}/cmdline`;
    if (existsSync(proc))
      expect(readFileSync(proc, "utf8").split("\0")).toEqual(expect.arrayContaining(engineOptions(3)));
    expect(member.dir).toBe(join(dir, member.name));
    const base = Number(new URL(ready.members[0]!.clientUrl).port);
    expect([new URL(member.clientUrl).port, new URL(member.peerUrl).port].map(Number)).toEqual([
      base + 2 * i,
      base + 2 * i + 1,
    ]);
  }

  const run = (...args: string[]) => quorate([...args, "--endpoints", endpoints]);
  expect(await run("put", "a", "1")).toEqual({ code: 0, stdout: "OK\n", stderr: "" });
  expect(await run("get", "a")).toEqual({ code: 0, stdout: "a\n1\n", stderr: "" });
  expect(await run("put", "a", "2", "--prev-kv")).toEqual({ code: 0, stdout: "OK\na\n1\n", stderr: "" });
  expect(await run("put", "b", "3")).toMatchObject({ stdout: "OK\n" });
  expect(await run("get", "", "--prefix")).toMatchObject({ stdout: "a\n2\nb\n3\n" });
  expect(await run("get", "", "--from-key", "--keys-only")).toMatchObject({ stdout: "a\n\nb\n\n" });
  expect(await run("get", "a", "--print-value-only")).toMatchObject({ stdout: "2\n" });
  expect(await run("get", "a", "--rev", "2")).toMatchObject({ stdout: "a\n1\n" });
  expect(await run("get", "absent")).toEqual({ code: 0, stdout: "", stderr: "" });

  const json = JSON.parse((await run("get", "a", "-w", "json")).stdout) as Record<string, unknown>;
  expect(json).toMatchObject({
    kvs: [{ key: "YQ==", value: "Mg==", create_revision: 2, mod_revision: 3, version: 2 }],
    count: 1,
  });

  const txn = 'value("a") = "2"\n\nput a 5\nget b\n\nget a\n\n';
  const success = await quorate(["txn", "--endpoints", endpoints], { stdin: txn });
  expect(success).toEqual({ code: 0, stdout: "SUCCESS\n\nOK\n\nb\n3\n", stderr: "" });
  const failure = await quorate(["txn", "--endpoints", endpoints], { stdin: txn });
  expect(failure).toEqual({ code: 0, stdout: "FAILURE\n\na\n5\n", stderr: "" });
  const malformed = await quorate(["txn", "--endpoints", endpoints], { stdin: "valu(a) = 1\n\n\n\n" });
  expect(malformed).toMatchObject({ code: 3, stdout: "", stderr: expect.stringMatching(/^Error: .*\n$/) });

  expect(await run("del", "b", "--prev-kv")).toMatchObject({ code: 0, stdout: "1\nb\n3\n" });
  expect(await run("compaction", "4")).toMatchObject({ code: 0, stdout: "compacted revision 4\n" });
  expect(await run("get", "a", "--rev", "2")).toEqual({
    code: 1,
    stdout: "",
    stderr: "Error: etcdserver: mvcc: required revision has been compacted\n",
  });
  expect(await run("put", "", "1")).toEqual({
    code: 1,
    stdout: "",
    stderr: "Error: etcdserver: key is not provided\n",
  });

  const members = (await run("member", "list")).stdout
    .trimEnd()
    .split("\n")
    .map((line) => line.split(", "));
  expect(members.map((fields) => fields[2]).sort()).toEqual(["n1", "n2", "n3"]);
  expect(members.every((fields) => fields[1] === "started" && fields[5] === "false")).toBe(true);
  expect((await run("endpoint", "status")).stdout.trimEnd().split("\n")).toHaveLength(3);
  expect((await run("endpoint", "health")).stdout).toMatch(/is healthy: successfully committed proposal: took = /);
  const hashes = (await run("endpoint", "hashkv")).stdout
    .trimEnd()
    .split("\n")
    .map((line) => line.split(", ")[1]);
  expect(new Set(hashes).size).toBe(1);

  const follower = members.find((fields) => fields[2] !== ready.leader)!;
  const moved = await run("move-leader", follower[0]!);
  expect(moved).toMatchObject({ code: 0, stdout: expect.stringMatching(/^Leadership transferred from [0-9a-f]+ to /) });

  launcher.kill("SIGTERM");
  expect(await launcher.ended).toMatchObject({ code: 0 });
  expect(ready.members.filter((member) => isAlive(member.pid))).toEqual([]);

  const again = await startCluster(dir);
  expect(await quorate(["get", "a", "--endpoints", again.endpoints])).toMatchObject({ stdout: "a\n5\n" });
}, 120_000);

test("leases: granted, kept alive, looked at, revoked, and expired with their keys", async () => {
  const { endpoints } = await startCluster(temporaryDir());
  const run = (...args: string[]) => quorate([...args, "--endpoints", endpoints]);
  const granted = await run("lease", "grant", "60");
  expect(granted).toMatchObject({ code: 0, stderr: "" });
  const [, id] = /^lease ([0-9a-f]{16}) granted with TTL\(60s\)\n$/.exec(granted.stdout)!;
  expect(await run("put", "service", "up", "--lease", id!)).toMatchObject({ code: 0, stdout: "OK\n" });
  expect(await run("lease", "list")).toMatchObject({ stdout: `found 1 leases\n${id}\n` });
  expect((await run("lease", "timetolive", id!, "--keys")).stdout).toMatch(
    new RegExp(`^lease ${id} granted with TTL\\(60s\\), remaining\\(\\d+s\\), attached keys\\(\\[service\\]\\)\n$`),
  );
  expect(await run("lease", "keep-alive", "--once", id!)).toEqual({
    code: 0,
    stdout: `lease ${id} keepalived with TTL(60)\n`,
    stderr: "",
  });
  expect(await run("lease", "revoke", id!)).toMatchObject({ code: 0, stdout: `lease ${id} revoked\n` });
  expect(await run("get", "service")).toMatchObject({ code: 0, stdout: "" });
  expect(await run("lease", "timetolive", id!)).toMatchObject({ code: 0, stdout: `lease ${id} already expired\n` });
  expect(await run("lease", "revoke", id!)).toEqual({
    code: 1,
    stdout: "",
    stderr: "Error: failed to revoke lease (etcdserver: requested lease not found)\n",
  });
  expect(await run("lease", "keep-alive", "--once", id!)).toEqual({
    code: 2,
    stdout: "",
    stderr: "Error: etcdserver: requested lease not found\n",
  });
  expect(await run("lease", "grant", "9000000001")).toMatchObject({
    code: 1,
    stderr: "Error: failed to grant lease (etcdserver: too large lease TTL)\n",
  });

  // What is below the minimum is raised to it; nobody keeps this one alive.
  const short = (await run("lease", "grant", "1")).stdout;
  const [, brief, ttl] = /^lease ([0-9a-f]{16}) granted with TTL\((\d+)s\)\n$/.exec(short)!;
  expect(Number(ttl)).toBe(2);
  expect(await run("put", "brief", "1", "--lease", brief!)).toMatchObject({ code: 0 });
  await vi.waitFor(async () => expect(await run("lease", "list")).toMatchObject({ stdout: "found 0 leases\n" }), {
    timeout: 20_000,
    interval: 100,
  });
  expect(await run("get", "brief")).toMatchObject({ code: 0, stdout: "" });
  expect(await run("lease", "keep-alive", brief!)).toMatchObject({
    code: 0,
    stdout: `lease ${brief} expired or revoked.\n`,
  });
});

test("a member that dies is reported, and with --restart started again", async () => {
  const { launcher, ready, endpoints } = await startCluster(temporaryDir(), "--restart");
  const leader = ready.members.find((member) => member.name === ready.leader)!;
  expect(await quorate(["put", "k", "v", "--endpoints", endpoints])).toMatchObject({ code: 0 });
  process.kill(leader.pid, "SIGKILL");
  await launcher.until(({ stderr }) => stderr.includes(`${leader.name} (pid ${leader.pid}) ended: killed by SIGKILL`));
  const up = new RegExp(`${leader.name} is up \\(pid (\\d+)\\)`, "g");
  await launcher.until(({ stderr }) => [...stderr.matchAll(up)].length === 2);
  expect(await quorate(["get", "k", "--endpoints", endpoints])).toMatchObject({ code: 0, stdout: "k\nv\n" });
  launcher.kill("SIGINT");
  expect(await launcher.ended).toMatchObject({ code: 0 });
});

test("members end when their launcher is killed", async () => {
  const { launcher, ready } = await startCluster(temporaryDir());
  launcher.kill("SIGKILL");
  await launcher.ended;
  await gone(ready.members.map((member) => member.pid));
});

test("--nodes 1 is a complete cluster, and the human ready line names leader and endpoints", async () => {
  const launcher = start(["cluster", "--base-port", "0", "--nodes", "1", "--dir", temporaryDir()]);
  await launcher.until(({ stdout }) => stdout.includes("\n"));
  expect(launcher.stdout).toMatch(
    /^quorate is ready: 1 member, leader n1, endpoints 127\.0\.0\.1:\d+ \(Ctrl-C stops\)\n$/,
  );
});

test("a directory is refused while in use, and for another cluster", async () => {
  const dir = temporaryDir();
  const { ready, launcher } = await startCluster(dir, "--nodes", "1");
  const config = join(dir, "cluster.config.json");
  expect(existsSync(config)).toBe(true);
  const before = readFileSync(config, "utf8");

  const inUse = await quorate([
    "server",
    "--name",
    "n1",
    "--config",
    config,
    "--listen-client-url",
    "ws://127.0.0.1:0",
    "--listen-peer-url",
    "ws://127.0.0.1:0",
  ]);
  expect(inUse).toMatchObject({ code: 1, stdout: "", stderr: expect.stringMatching(/^Error: .*in use.*\n$/) });
  expect(isAlive(ready.members[0]!.pid)).toBe(true);
  const second = await quorate(["cluster", "--base-port", "0", "--nodes", "1", "--dir", dir]);
  expect(second).toMatchObject({ code: 1, stdout: "", stderr: expect.stringMatching(/^Error: .*in use.*\n$/) });
  expect(readFileSync(config, "utf8")).toBe(before);

  launcher.kill("SIGTERM");
  await launcher.ended;
  const other = await quorate(["cluster", "--base-port", "0", "--nodes", "3", "--dir", dir]);
  expect(other).toMatchObject({ code: 1, stdout: "", stderr: expect.stringContaining("holds the cluster of n1") });
  const member = await quorate(["server", "--name", "n1", "--config", config, "--token", "another"]);
  expect(member).toMatchObject({
    code: 1,
    stdout: "",
    stderr: expect.stringMatching(/^Error: .*belongs to member .* of cluster .*\n$/),
  });
  expect(readFileSync(config, "utf8")).toBe(before);
});

test("a member alone serves, prints its ready line as JSON, and ends on SIGTERM", async () => {
  const dir = join(temporaryDir(), "n1");
  const server = start(["server", "--name", "n1", "--dir", dir, "--listen-client-url", "ws://127.0.0.1:0", "--json"]);
  await server.until(({ stdout }) => stdout.includes("\n"));
  const ready = JSON.parse(server.stdout) as { clientUrl: string; event: string; name: string; dir: string };
  expect(ready).toMatchObject({ event: "ready", name: "n1", dir });
  const endpoints = ready.clientUrl.replace("ws://", "");
  expect(await quorate(["put", "a", "--endpoints", endpoints], { stdin: "from stdin" })).toMatchObject({
    stdout: "OK\n",
  });
  expect(await quorate(["get", "a", "--endpoints", endpoints])).toMatchObject({ stdout: "a\nfrom stdin\n" });
  server.kill("SIGTERM");
  expect(await server.ended).toMatchObject({ code: 0 });
});

test("a full member: what is refused, who says so, and how it ends", async () => {
  const dir = join(temporaryDir(), "n1");
  const at = ["--listen-client-url", "ws://127.0.0.1:0", "--quota-bytes", "20000", "--auto-compaction-retention", "0"];
  const server = start(["server", "--name", "n1", "--dir", dir, ...at, "--json"]);
  await server.until(({ stdout }) => stdout.includes("\n"));
  const ready = JSON.parse(server.stdout) as { clientUrl: string; id: string };
  const to = ["--endpoints", ready.clientUrl.replace("ws://", "")];
  const decimal = BigInt(`0x${ready.id}`);
  expect(await quorate(["alarm", "list", ...to])).toMatchObject({ code: 0, stdout: "" });
  expect(await quorate(["put", "a", "x".repeat(18_300), ...to])).toMatchObject({ code: 0 });
  const refused = await quorate(["put", "b", "x".repeat(3_000), ...to]);
  expect(refused).toMatchObject({ code: 1, stdout: "", stderr: "Error: etcdserver: mvcc: database space exceeded\n" });
  const line = `memberID:${decimal} alarm:NOSPACE \n`;
  expect(await quorate(["alarm", "list", ...to])).toMatchObject({ code: 0, stdout: line });
  const health = await quorate(["endpoint", "health", ...to]);
  expect(health.code).toBe(1);
  expect(health.stdout + health.stderr).toContain("Active Alarm(s): NOSPACE ");
  const status = await quorate(["endpoint", "status", ...to]);
  expect(status.stdout).toContain(", 20 kB, true, ");
  expect(status.stdout).toContain(line.trimEnd());
  const metrics = await (await fetch(`${ready.clientUrl.replace("ws:", "http:")}/metrics`)).text();
  expect(metrics).toContain("etcd_server_quota_backend_bytes 20000\n");
  expect(metrics).toContain(`etcd_debugging_server_alarms{server_id="${ready.id}",alarm_type="NOSPACE"} 1\n`);
  expect(metrics).toMatch(/\netcd_debugging_lease_granted_total 0\n/);
  expect(await quorate(["alarm", "disarm", ...to])).toMatchObject({ code: 0, stdout: line });
  expect(await quorate(["alarm", "disarm", ...to])).toMatchObject({ code: 0, stdout: "" });
  server.kill("SIGTERM");
  expect(await server.ended).toMatchObject({ code: 0 });
});

test("beyond the loopback address a secret is needed", async () => {
  const dir = join(temporaryDir(), "n1");
  const flags = [
    "--name",
    "n1",
    "--dir",
    dir,
    "--listen-client-url",
    "ws://127.0.0.1:0",
    "--listen-peer-url",
    "ws://0.0.0.0:0",
  ];
  const ran = await quorate(["server", ...flags]);
  expect(ran).toMatchObject({ code: 128, stdout: "", stderr: expect.stringMatching(/^Error: .*secret.*\n$/) });
  expect(existsSync(dir)).toBe(false);
});

test("one embedded member grows to two without stopping", async () => {
  const root = temporaryDir();
  const free = ["--listen-client-url", "ws://127.0.0.1:0"];
  const first = start([
    "server",
    "--name",
    "n1",
    "--dir",
    join(root, "n1"),
    ...free,
    "--listen-peer-url",
    "ws://127.0.0.1:0",
    "--json",
  ]);
  await first.until(({ stdout }) => stdout.includes("\n"));
  const endpoints = (JSON.parse(first.stdout) as { clientUrl: string }).clientUrl.replace("ws://", "");
  expect(await quorate(["put", "a", "1", "--endpoints", endpoints])).toMatchObject({ code: 0 });

  const { freeBlock } = await import("../../src/platform/node/ports.ts");
  const peerUrl = `ws://127.0.0.1:${await freeBlock(1)}`;
  const added = await quorate(["member", "add", "n2", "--peer-urls", peerUrl, "--learner", "--endpoints", endpoints]);
  expect(added).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/^Member +([0-9a-f]+) added as learner to cluster /),
  });
  const id = /^Member +([0-9a-f]+)/.exec(added.stdout)![1]!;

  const second = start([
    "server",
    "--name",
    "n2",
    "--dir",
    join(root, "n2"),
    ...free,
    "--listen-peer-url",
    peerUrl,
    "--join",
    endpoints,
    "--json",
  ]);
  await second.until(({ stdout }) => stdout.includes("\n"));
  await vi.waitFor(
    async () => {
      const promoted = await quorate(["member", "promote", id, "--endpoints", endpoints]);
      expect(promoted).toMatchObject({ code: 0, stdout: expect.stringContaining("promoted in cluster") });
    },
    { timeout: 30_000, interval: 100 },
  );
  const own = (JSON.parse(second.stdout) as { clientUrl: string }).clientUrl.replace("ws://", "");
  expect(await quorate(["get", "a", "--endpoints", own])).toMatchObject({ code: 0, stdout: "a\n1\n" });
});

test("a second signal kills at once", async () => {
  const { launcher, ready } = await startCluster(temporaryDir());
  // Stopped members cannot close, so that only the second signal can end this.
  for (const { pid } of ready.members) process.kill(pid, "SIGSTOP");
  onTestFinished(() => {
    for (const { pid } of ready.members) if (isAlive(pid)) process.kill(pid, "SIGKILL");
  });
  launcher.kill("SIGINT");
  await launcher.until(({ stderr }) => stderr.includes("stopping"));
  // What follows within half a second counts as the same Ctrl-C, so it is sent until it counts.
  const repeat = setInterval(() => launcher.kill("SIGINT"), 100);
  onTestFinished(() => clearInterval(repeat));
  expect(await launcher.ended).toMatchObject({ code: 130 });
  await gone(ready.members.map((member) => member.pid));
});

test("members share the processors: a thread for each one's collector and compiler, or as many as there are to spare", () => {
  expect(engineOptions(1_000)).toContain("--v8-pool-size=1");
  expect(engineOptions(1)).toContain(`--v8-pool-size=${Math.min(4, availableParallelism())}`);
  // Node knows each of them, in the environment too: that is where somebody who wants another says so.
  for (const option of engineOptions(3)) {
    expect(spawnSync(process.execPath, ["-e", ""], { env: { ...process.env, NODE_OPTIONS: option } }).status).toBe(0);
  }
});
