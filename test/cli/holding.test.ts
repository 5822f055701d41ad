import { describe, expect, onTestFinished, test } from "vitest";
import { Election } from "../../src/concurrency/election.ts";
import { Mutex } from "../../src/concurrency/mutex.ts";
import { Session } from "../../src/concurrency/session.ts";
import { Node } from "../../src/node/node.ts";
import { type Running, start } from "./run.ts";

async function member() {
  const node = await Node.open({ listenClientUrl: "ws://127.0.0.1:0" });
  onTestFinished(() => node.close({ handOver: false }));
  const client = node.client();
  const endpoints = node.clientUrl!.replace("ws://", "");
  const run = (command: string, ...args: readonly string[]): Running =>
    start([command, "--endpoints", endpoints, ...args]);
  return { client, run };
}

const SHOW = "process.stdout.write([process.env.ETCD_LOCK_KEY, process.env.ETCD_LOCK_REV].join(' ')+'\\n')";

describe("quorate lock", () => {
  test("prints its key once it holds the lock, and gives it up on a signal with code 0", async () => {
    const { client, run } = await member();
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      const first = run("lock", "jobs", "--ttl", "30");
      await first.until(({ stdout }) => stdout.endsWith("\n\n"));
      const { kvs } = await client.get("jobs/", { prefix: true });
      expect(first.stdout).toBe(`${kvs[0]?.keyText()}\n\n`);
      expect((await client.lease.timeToLive(kvs[0]!.lease)).grantedTtl).toBe(30);
      const second = run("lock", "jobs", "-w", "json");
      while ((await client.get("jobs/", { prefix: true })).count < 2);
      expect(second.stdout).toBe("");
      first.kill(signal);
      expect(await first.ended).toMatchObject({ code: 0, stderr: "" });
      await second.until(({ stdout }) => stdout.endsWith("\n"));
      expect(JSON.parse(second.stdout)).toMatchObject({ count: 1, kvs: [{ version: 1 }] });
      second.kill(signal);
      expect(await second.ended).toMatchObject({ code: 0, stderr: "" });
    }
    expect((await client.get("jobs/", { prefix: true })).count).toBe(0);
    expect((await client.lease.list()).leases).toEqual([]);
  });

  test("runs a command while it holds the lock, and ends with its code", async () => {
    const { client, run } = await member();
    await client.put("before", "1");
    const ran = await run("lock", "jobs", "--", process.execPath, "-e", `${SHOW}; process.exit(7)`).ended;
    expect(ran).toMatchObject({ code: 7, stderr: "" });
    expect(ran.stdout).toMatch(/^jobs\/[0-9a-f]+ 3\n$/);
    expect(await run("lock", "jobs", "true").ended).toEqual({ code: 0, stdout: "", stderr: "" });
    const absent = await run("lock", "jobs", "no-such-command").ended;
    expect(absent).toMatchObject({ code: 1, stdout: "" });
    expect(absent.stderr).toContain("no-such-command");
    expect((await client.get("jobs/", { prefix: true })).count).toBe(0);
  });

  test("interrupted while it waits it leaves the queue, with etcdctl's code for it", async () => {
    const { client, run } = await member();
    await using session = await Session.open(client);
    await new Mutex(session, "jobs").lock();
    const waiting = run("lock", "jobs");
    while ((await client.get("jobs/", { prefix: true })).count < 2);
    waiting.kill("SIGINT");
    expect(await waiting.ended).toEqual({ code: 5, stdout: "", stderr: "Error: interrupted\n" });
    expect((await client.get("jobs/", { prefix: true })).count).toBe(1);
  });

  test("with nobody left to read its key, it gives the lock up", async () => {
    const { client, run } = await member();
    const session = await Session.open(client);
    await new Mutex(session, "jobs").lock();
    const waiting = run("lock", "jobs");
    while ((await client.get("jobs/", { prefix: true })).count < 2);
    waiting.child.stdout?.destroy();
    await session.close();
    expect(await waiting.ended).toMatchObject({ code: 141, stderr: "" });
    expect((await client.get("jobs/", { prefix: true })).count).toBe(0);
  });

  test("a lost session ends it, and the command that it runs", async () => {
    const { client, run } = await member();
    const holding = run("lock", "jobs");
    await holding.until(({ stdout }) => stdout !== "");
    const revoke = async (): Promise<void> => {
      for (const lease of (await client.lease.list()).leases) await client.lease.revoke(lease);
    };
    await revoke();
    const told = { code: 1, stderr: "Error: session expired\n" };
    expect(await holding.ended).toMatchObject(told);
    const running = run("lock", "jobs", "--", process.execPath, "-e", `${SHOW}; setInterval(() => {}, 1000)`);
    await running.until(({ stdout }) => stdout !== "");
    await revoke();
    expect(await running.ended).toMatchObject(told);
  });
});

describe("quorate elect", () => {
  test("prints key and value once it leads, and resigns on a signal", async () => {
    const { client, run } = await member();
    const first = run("elect", "boss", "one");
    await first.until(({ stdout }) => stdout.endsWith("one\n"));
    const { kvs } = await client.get("boss/", { prefix: true });
    expect(first.stdout).toBe(`${kvs[0]?.keyText()}\none\n`);
    const second = run("elect", "boss", "two");
    while ((await client.get("boss/", { prefix: true })).count < 2);
    first.kill("SIGINT");
    expect(await first.ended).toMatchObject({ code: 0, stderr: "" });
    await second.until(({ stdout }) => stdout.endsWith("two\n"));
    second.kill("SIGTERM");
    expect(await second.ended).toMatchObject({ code: 0, stderr: "" });
    expect((await client.get("boss/", { prefix: true })).count).toBe(0);
  });

  test("listens to every leader, and to what it proclaims", async () => {
    const { client, run } = await member();
    await using session = await Session.open(client);
    const election = new Election(session, "boss");
    await election.campaign("a");
    const listening = run("elect", "--listen", "boss");
    const key = new TextDecoder().decode(election.key);
    await listening.until(({ stdout }) => stdout === `${key}\na\n`);
    await election.proclaim("b");
    await listening.until(({ stdout }) => stdout === `${key}\na\n${key}\nb\n`);
    listening.kill("SIGINT");
    expect(await listening.ended).toMatchObject({ code: 0, stderr: "" });
  });
});
