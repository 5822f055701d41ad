/** The examples run as they stand, each as a program of its own, against a member that the test opens. */
import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { expect, onTestFinished, test } from "vitest";
import type { Client } from "../src/client/client.ts";
import { Node } from "../src/node/node.ts";
import { freeBlock } from "../src/platform/node/ports.ts";

/** Those that end by themselves, with their output. */
const OUTPUT: Readonly<Record<string, string>> = {
  "backup.ts": "saved revision 2\nrestored hello at revision 1000000002\n",
  "client.ts":
    "has a leader: true, is a learner: false\nlease granted for 30 s\n" +
    "get services/7 { host: '10.0.0.7', port: 80 }\nput services/7\ndelete services/7\n",
  "embedded.ts": "hello\n",
  "initialize-once.ts": "10 processes, 1 initialization, all done: true\n",
  "job-queue.ts": "20 jobs done, 0 left, each once\n",
};
/** Those that run on, each with a test of its own below. */
const STORIES = ["config-watcher.ts", "growing.ts", "leader-election.ts"];

test("every example has its output here, is short, and stands in the README", () => {
  const names = readdirSync("examples").filter((name) => name.endsWith(".ts"));
  expect(names.toSorted()).toEqual([...Object.keys(OUTPUT), ...STORIES].toSorted());
  for (const name of names) {
    expect(readFileSync(`examples/${name}`, "utf8").split("\n").length, name).toBeLessThan(
      name === "job-queue.ts" ? 90 : 40,
    );
    expect(readFileSync("README.md", "utf8")).toContain(`(examples/${name})`);
  }
});

async function member(): Promise<{ readonly client: Client; readonly env: Readonly<Record<string, string>> }> {
  const node = await Node.open({ listenClientUrl: "ws://127.0.0.1:0" });
  onTestFinished(() => node.close({ handOver: false }));
  return { client: node.client(), env: { QUORATE_ENDPOINTS: node.clientUrl! } };
}

class Program {
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;
  output = "";
  errors = "";
  #changed: () => void = () => {};

  constructor(name: string, env: Readonly<Record<string, string>>, ...args: readonly string[]) {
    this.child = spawn(process.execPath, ["--import", "tsx", `examples/${name}`, ...args], {
      env: { ...process.env, NO_COLOR: "1", ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.child.stdout?.on("data", (data: Buffer) => {
      this.output += data.toString();
      this.#changed();
    });
    this.child.stderr?.on("data", (data: Buffer) => {
      this.errors += data.toString();
    });
    this.ended = new Promise((resolve) => this.child.once("close", resolve));
    onTestFinished(() => void this.child.kill("SIGKILL"));
  }

  /** Waits until this is its last line. */
  async says(line: string): Promise<void> {
    void this.ended.then(() => this.#changed());
    while (!this.output.endsWith(`${line}\n`)) {
      if (this.child.exitCode !== null) throw new Error(`ended without "${line}":\n${this.output}\n${this.errors}`);
      await new Promise<void>((resolve) => {
        this.#changed = resolve;
      });
    }
  }
}

test.each(Object.entries(OUTPUT))("%s", async (name, expected) => {
  const { env } = await member();
  const program = new Program(name, env);
  const code = await program.ended;
  expect({ code, output: program.output, errors: program.errors }).toEqual({ code: 0, output: expected, errors: "" });
});

test("config-watcher.ts", async () => {
  const { client, env } = await member();
  const put = (value: string) => client.put("config/feature", value);
  const program = new Program("config-watcher.ts", env);
  await program.says("nothing is configured");
  await put('{"enabled":true,"percentage":10,"region":"eu"}');
  await program.says("on for 10 % in eu");
  const { revision } = await put('{"enabled":true,"percentage":101,"region":"eu"}');
  await program.says(`not valid (${revision}), still 10 %`);
  await put('{"enabled":false,"percentage":10,"region":"eu"}');
  await program.says("off");
  program.child.kill("SIGTERM");
  expect(await program.ended).toBe(0);
});

test("growing.ts", { timeout: 300_000 }, async () => {
  const program = new Program("growing.ts", {}, String(await freeBlock(6)));
  const code = await program.ended;
  expect({ code, output: program.output, errors: program.errors }).toEqual({
    ...{ code: 0, errors: "" },
    output: "2 members\n3 members\nwithout the first: hello\n",
  });
});

test("leader-election.ts", { timeout: 300_000 }, async () => {
  const { client, env } = await member();
  const worked = async (name: string): Promise<void> => {
    while ((await client.get("example/worked")).kvs[0]?.text() !== name);
  };
  const a = new Program("leader-election.ts", env, "a");
  await a.says("a leads");
  await worked("a");
  const b = new Program("leader-election.ts", env, "b");
  const candidates = async () => (await client.get("example/leader/", { prefix: true })).kvs;
  while ((await candidates()).length < 2);
  // The leader's session is lost: the other leads, and it stands again.
  await client.lease.revoke((await candidates()).find((kv) => kv.text() === "a")!.lease);
  await a.says("a leads no more");
  await b.says("b leads");
  await worked("b");
  b.child.kill("SIGTERM");
  await b.says("b leads no more");
  expect(await b.ended).toBe(0);
  await a.says("a leads");
  a.child.kill("SIGTERM");
  expect(await a.ended).toBe(0);
  expect(a.output).toBe("a leads\na leads no more\na leads\na leads no more\n");
});
