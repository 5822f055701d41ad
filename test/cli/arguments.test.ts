import { spawnSync } from "node:child_process";
import { closeSync, existsSync, openSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import type { Command } from "commander";
import { describe, expect, onTestFinished, test } from "vitest";
import { parseDuration } from "../../src/cli/globals.ts";
import { buildProgram } from "../../src/cli/program.ts";
import { freeBlock } from "../../src/platform/node/ports.ts";
import { MAIN, quorate, Running, temporaryDir } from "./run.ts";

/** Every command that does something, by its words. */
function leaves(command: Command, words: readonly string[] = []): [string, Command][] {
  return command.commands.flatMap((child): [string, Command][] => {
    const path = [...words, child.name()];
    return child.commands.length > 0 ? leaves(child, path) : [[path.join(" "), child]];
  });
}

function helpOf(command: Command): string {
  let text = "";
  command.configureOutput({ writeOut: (part) => (text += part) });
  command.outputHelp();
  return text;
}

test("these are the commands", () => {
  expect(leaves(buildProgram()).map(([words]) => words)).toEqual([
    ...["cluster", "server", "put", "get", "del", "txn", "watch", "compaction"],
    ...["lease grant", "lease revoke", "lease timetolive", "lease list", "lease keep-alive"],
    ...["lock", "elect"],
    ...["member list", "member add", "member remove", "member promote", "member update"],
    ...["move-leader", "endpoint status", "endpoint hashkv", "endpoint health"],
    ...["snapshot save", "snapshot status", "snapshot restore", "check perf"],
    ...["alarm list", "alarm disarm", "version"],
  ]);
});

test.each(leaves(buildProgram()))("help of %s shows an example", (words, command) => {
  const help = helpOf(command);
  expect(help).toContain("Example:");
  expect(help).toMatch(new RegExp(`quorate ${words}`));
});

test.each([
  ["5s", 5_000],
  ["250ms", 250],
  ["1m30s", 90_000],
  ["1.5s", 1_500],
])("the duration %s is %d ms", (text, ms) => {
  expect(parseDuration(text)).toBe(ms);
});

describe("bad arguments give one line and change nothing", () => {
  const table: readonly (readonly [string, readonly string[], number, string])[] = [
    ["an unknown flag", ["put", "a", "1", "--nope"], 128, "unknown option '--nope'"],
    ["an unknown command", ["frobnicate"], 128, "unknown command 'frobnicate'"],
    ["an unknown command of member", ["member", "frob"], 128, "unknown command 'frob'"],
    ["a missing argument", ["put"], 128, "missing required argument 'key'"],
    ["too many arguments", ["version", "now"], 128, "too many arguments"],
    ["an unknown format", ["get", "a", "-w", "xml"], 4, 'unsupported output format "xml"'],
    ["a bad duration", ["get", "a", "--command-timeout", "soon"], 128, "Write a duration such as 5s"],
    ["an empty endpoint", ["get", "a", "--endpoints", "a:1,,b:2"], 128, "without empty items"],
    ["prefix and from-key", ["get", "a", "--prefix", "--from-key"], 128, "cannot be set at the same time"],
    ["a range end with prefix", ["get", "a", "b", "--prefix"], 128, "too many arguments"],
    ["keys-only and count-only", ["get", "a", "--keys-only", "--count-only"], 128, "cannot be set at the same time"],
    ["count-only without fields", ["get", "a", "--count-only"], 128, "--count-only is only for `--write-out=fields`"],
    ["an unknown consistency", ["get", "a", "--consistency", "x"], 4, 'unknown consistency flag "x"'],
    ["an unknown order", ["get", "a", "--order", "SIDEWAYS"], 4, "bad sort order SIDEWAYS"],
    ["an unknown sort target", ["get", "a", "--sort-by", "SIZE"], 4, "bad sort target SIZE"],
    ["a revision that is no number", ["get", "a", "--rev", "x"], 128, "Give a whole number"],
    ["a lease that is not hexadecimal", ["put", "a", "1", "--lease", "xyz"], 128, "bad lease ID (xyz)"],
    ["a TTL that is no number", ["lease", "grant", "long"], 128, "Give a whole number"],
    ["a lease to revoke that is not hexadecimal", ["lease", "revoke", "xyz"], 128, "bad lease ID (xyz)"],
    ["a lock without a name", ["lock"], 128, "missing required argument 'name'"],
    ["a lock with an empty name", ["lock", ""], 128, "a lock needs a name"],
    ["a lock with a TTL of 0", ["lock", "a", "--ttl", "0"], 128, "Give a whole number from 1 on"],
    ["a lock as a table", ["lock", "a", "-w", "table"], 4, "table not supported as output format"],
    ["an empty command to lock", ["lock", "a", ""], 128, "the command to run is empty"],
    ["an election without a proposal", ["elect", "a"], 128, "no proposal argument but -l not set"],
    ["an election with an empty name", ["elect", "", "b"], 128, "an election needs a name"],
    ["a proposal to listen to", ["elect", "a", "b", "-l"], 128, "proposal given but -l is set"],
    ["a value with ignore-value", ["put", "a", "1", "--ignore-value"], 128, "ignore-value"],
    ["a member id that is not hexadecimal", ["member", "remove", "zz"], 128, "expecting ID in Hex"],
    ["a member without an address", ["member", "add", "n4"], 128, "member peer urls not provided"],
    ["a compaction without a number", ["compaction", "soon"], 128, "Give a whole number"],
    ["a server without a name", ["server", "--config", "cluster.config.json"], 128, "--name"],
    [
      "a server that is not in the file",
      ["server", "--name", "n9", "--config", "cluster.config.json"],
      128,
      'no member "n9"',
    ],
    [
      "a detour that is no pair of addresses",
      ["server", "--reroute", "n1"],
      128,
      "Write ws://host:port=ws://host:port",
    ],
    ["a watch of nothing", ["watch"], 128, "watch takes a key"],
    ["a watch of too much", ["watch", "a", "b", "c"], 128, "too many arguments"],
    ["a watch with a range end and prefix", ["watch", "a", "b", "--prefix"], 128, "cannot be set at the same time"],
    ["a watch from no revision", ["watch", "a", "--rev", "x"], 128, "Give a whole number"],
    ["a watch as a table", ["watch", "a", "-w", "table"], 4, "table not supported as output format"],
    ["an interactive watch of a key", ["watch", "-i", "a"], 128, "come from stdin"],
    ["an absent file", ["cluster", "--config", "absent.json"], 6, "cannot read absent.json"],
    ["an unknown log level", ["cluster", "--log-level", "loud"], 128, "loud"],
    ["a save from several members", ["snapshot", "save", "f", "--endpoints", "a:1,b:2"], 128, "not multiple [a:1 b:2]"],
    ["a snapshot that is not there", ["snapshot", "status", "absent.snap"], 6, "absent.snap"],
    ["a bump that is negative", ["snapshot", "restore", "f", "--bump-revision", "-1"], 128, "whole number from 0"],
    [
      "a member that the list has not",
      ["snapshot", "restore", "f", "--name", "a", "--initial-cluster", "b=ws://127.0.0.1:1"],
      128,
      'no member "a"',
    ],
    [
      "another address than the list's",
      [
        ...["snapshot", "restore", "f", "--name", "b", "--initial-cluster", "b=ws://127.0.0.1:1"],
        ...["--initial-advertise-peer-urls", "ws://127.0.0.1:2"],
      ],
      128,
      "should have b=ws://127.0.0.1:2",
    ],
    ["an unknown way to compact", ["cluster", "--auto-compaction-mode", "hourly"], 128, "hourly"],
    [
      "a retention that is none",
      ["cluster", "--auto-compaction-retention", "soon"],
      128,
      "autoCompactionRetention must be",
    ],
    [
      "a number of revisions that is missing",
      ["server", "--auto-compaction-mode", "revision"],
      128,
      "autoCompactionMode revision needs autoCompactionRetention",
    ],
    ["no watchers", ["server", "--max-watchers", "0"], 128, "Give a whole number from 1 on"],
    ["a quota that is none", ["cluster", "--quota-bytes", "-2"], 128, "Give a whole number from -1 on"],
    ["alarms as a table", ["alarm", "list", "now"], 128, "too many arguments"],
    ["too many nodes", ["cluster", "--nodes", "50"], 128, "from 1 to 9"],
  ];

  test.concurrent.each(table)("%s", async (_, args, code, message) => {
    const ran = await quorateUntracked(args);
    expect(ran.stderr).toContain(message);
    expect(ran.stderr.trimEnd().split("\n")).toHaveLength(1);
    expect(ran.stderr).toMatch(/^Error: /);
    expect(ran.stdout).toBe("");
    expect(ran.code).toBe(code);
  });
});

/** `onTestFinished` needs its own context in concurrent tests; these processes end by themselves. */
async function quorateUntracked(args: readonly string[]): ReturnType<typeof quorate> {
  return new Running(args).ended;
}

test("nobody listens there: exit code 2 and a word on what to do", async () => {
  const port = await freeBlock(1);
  const ran = await quorate(["get", "a", "--endpoints", `127.0.0.1:${port}`, "--dial-timeout", "500ms"]);
  expect(ran.stderr).toMatch(/^Error: .*quorate cluster/);
  expect(ran.stdout).toBe("");
  expect(ran.code).toBe(2);
});

test.skipIf(!existsSync("/dev/full"))("output that could not be written is an error of its own", () => {
  const full = openSync("/dev/full", "w");
  const ran = spawnSync(process.execPath, [MAIN, "version"], { stdio: ["ignore", full, "pipe"], encoding: "utf8" });
  closeSync(full);
  expect(ran.stderr).toMatch(/^Error: cannot write the output: ENOSPC.*\n$/);
  expect(ran.status).toBe(6);
});

test("a bad configuration names file and field, for cluster and server alike", async () => {
  const dir = temporaryDir();
  const config = join(dir, "my.json");
  writeFileSync(
    config,
    JSON.stringify({ members: [{ name: "n1", clientUrl: "ws://a:1", peerUrl: "ws://a:2", colour: 1 }] }),
  );
  for (const args of [["cluster"], ["server", "--name", "n1"]]) {
    const ran = await quorate([...args, "--config", config]);
    expect(ran.stderr).toBe('Error: my.json: unknown field "members[0].colour"\n');
    expect(ran.code).toBe(128);
  }
});

test("a port in use is named before anything is created", async () => {
  const dir = join(temporaryDir(), "data");
  const port = await freeBlock(6);
  const other = createServer();
  onTestFinished(() => void other.close());
  await new Promise<void>((resolve) => other.listen(port + 3, "127.0.0.1", resolve));
  const ran = await quorate(["cluster", "--base-port", String(port), "--dir", dir]);
  expect(ran.stderr).toContain(`the address 127.0.0.1:${port + 3} is in use`);
  expect(ran.stderr.trimEnd().split("\n")).toHaveLength(1);
  expect(ran.code).toBe(1);
  expect(existsSync(dir)).toBe(false);
});

test("the environment counts, and a flag beats it", async () => {
  const env = { QUORATE_WRITE_OUT: "xml" };
  expect((await quorate(["get", "a"], { env })).code).toBe(4);
  const port = await freeBlock(1);
  const flags = ["-w", "json", "--endpoints", `127.0.0.1:${port}`, "--dial-timeout", "500ms"];
  expect((await quorate(["get", "a", ...flags], { env })).code).toBe(2);
});

test("version", async () => {
  expect(await quorate(["version"])).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/^quorate version: \d+\.\d+\.\d+\nAPI version: /),
  });
});
