import { describe, expect, onTestFinished, test } from "vitest";
import { parseLine, splitLine } from "../../src/cli/watching.ts";
import { Node } from "../../src/node/node.ts";
import { type Running, start } from "./run.ts";

test.each<[string, readonly string[]]>([
  ["watch a b", ["watch", "a", "b"]],
  [`  watch "a b"  'c "d"' `, ["watch", "a b", 'c "d"']],
  ['watch "a\\"b" -- echo "x y"', ["watch", 'a"b', "--", "echo", "x y"]],
  ["", []],
])("the line %s has these words", (line, words) => {
  expect(splitLine(line)).toEqual(words);
});

test("a typed line is read as the command line is", () => {
  expect(parseLine(splitLine("watch --prefix --rev 7 --prev-kv a/ -- echo --rev 1"))).toEqual({
    words: ["a/"],
    run: ["echo", "--rev", "1"],
    flags: { prefix: true, rev: 7, prevKv: true },
  });
  expect(() => parseLine(["watch"])).toThrow("command type or key is not provided");
  expect(() => parseLine(["put", "a"])).toThrow("only support watch");
  expect(() => parseLine(["watch", "a", "--nope"])).toThrow("unknown option");
});

describe("against a member", () => {
  async function member() {
    const node = await Node.open({ listenClientUrl: "ws://127.0.0.1:0" });
    onTestFinished(() => node.close({ handOver: false }));
    const client = node.client();
    const endpoints = node.clientUrl!.replace("ws://", "");
    return {
      client,
      endpoints,
      watch: (...args: readonly string[]): Running => start(["watch", "--endpoints", endpoints, ...args]),
      typed: (stdin: string): Running => start(["watch", "-i", "--endpoints", endpoints], { stdin }),
    };
  }

  test("prints events in etcdctl's shape, with what was before", async () => {
    const { client, watch } = await member();
    await client.put("a", "1");
    await client.put("a", "2");
    await client.delete("a");
    const running = watch("a", "--rev", "2", "--prev-kv");
    const text = "PUT\na\n1\nPUT\na\n1\na\n2\nDELETE\na\n2\na\n\n";
    await running.until(({ stdout }) => stdout.length >= text.length);
    expect(running.stdout).toBe(text);
    running.kill("SIGINT");
    expect(await running.ended).toMatchObject({ code: 5, stdout: text });
  });

  test("as json, one line a batch", async () => {
    const { client, watch } = await member();
    const { header } = await client.put("a/1", "x");
    await client.delete("a/1");
    const running = watch("a/", "--prefix", "--rev", "2", "-w", "json");
    await running.until(({ stdout }) => stdout.endsWith("\n"));
    const ids = `"cluster_id":${header.clusterId},"member_id":${header.memberId}`;
    expect(running.stdout).toBe(
      `{"Header":{${ids},"revision":3,"raft_term":${header.raftTerm}},"Events":[` +
        '{"kv":{"key":"YS8x","create_revision":2,"mod_revision":2,"version":1,"value":"eA=="}},' +
        '{"type":1,"kv":{"key":"YS8x","mod_revision":3}}],' +
        '"CompactRevision":0,"Canceled":false,"Created":false,"CancelReason":""}\n',
    );
  });

  test("runs a command for each event, with the event in its environment", async () => {
    const { client, watch } = await member();
    await client.put("a", 'say "x"');
    await client.delete("a");
    const script =
      "process.stdout.write(['REVISION','EVENT_TYPE','KEY','VALUE'].map((n)=>process.env['ETCD_WATCH_'+n]).join(' ')+'\\n')";
    const running = watch("a", "--rev", "2", "--", process.execPath, "-e", script);
    const lines = ['3 "PUT" "a" "say \\"x\\""', '3 "DELETE" "a" ""'];
    await running.until(({ stdout }) => stdout.includes(lines[1]!));
    expect(running.stdout).toBe(`PUT\na\nsay "x"\nDELETE\na\n\n${lines.join("\n")}\n`);
  });

  test("the key may come from the environment, but not from there and as an argument", async () => {
    const { client, endpoints } = await member();
    await client.put("a", "1");
    await client.put("b", "2");
    const env = { QUORATE_WATCH_KEY: "a", QUORATE_WATCH_RANGE_END: "c" };
    const running = start(["watch", "--rev", "2", "--endpoints", endpoints], { env });
    await running.until(({ stdout }) => stdout === "PUT\na\n1\nPUT\nb\n2\n");
    const both = await start(["watch", "a", "--endpoints", endpoints], { env }).ended;
    expect(both).toMatchObject({ code: 128, stdout: "" });
    expect(both.stderr).toContain("QUORATE_WATCH_KEY");
  });

  test("a command that fails ends it", async () => {
    const { client, watch } = await member();
    await client.put("a", "1");
    const ran = await watch("a", "--rev", "2", "--", process.execPath, "-e", "process.exit(3)").ended;
    expect(ran).toMatchObject({ code: 1, stdout: "PUT\na\n1\n" });
    expect(ran.stderr).toContain("error (exit status 3)");
  });

  test("ends when nobody reads it any more, as behind `| head -1`", async () => {
    const { client, watch } = await member();
    await client.put("a", "1");
    const running = watch("a", "--rev", "2");
    await running.until(({ stdout }) => stdout === "PUT\na\n1\n");
    running.child.stdout?.destroy();
    await client.put("a", "2");
    expect(await running.ended).toMatchObject({ code: 141, stderr: "" });
  });

  test("a compacted start ends it, as the server's word", async () => {
    const { client, watch } = await member();
    for (const value of ["1", "2", "3"]) await client.put("a", value);
    await client.compact(4);
    expect(await watch("a", "--rev", "2").ended).toEqual({
      code: 5,
      stdout: "",
      stderr:
        "watch was canceled (etcdserver: mvcc: required revision has been compacted)\nError: watch is canceled by the server\n",
    });
  });

  test("typed in: watches gather, bad lines are named, the end of the input ends it", async () => {
    const { typed } = await member();
    const ran = await typed("frob a\nwatch\nwatch a --nope\nwatch a\nprogress\n").ended;
    expect(ran.code).toBe(3);
    expect(ran.stderr.split("\n")).toEqual([
      "Invalid command frob a (only support watch)",
      "Invalid command watch (command type or key is not provided)",
      expect.stringContaining("Invalid command watch a --nope (unknown option"),
      "Error: error reading watch request line: EOF",
      "",
    ]);
  });
});
