/** `check perf`: how figures are judged, and a short run against a real member. */
import { describe, expect, test } from "vitest";
import { Latencies, LOADS, Rate, verdict } from "../../src/cli/check-perf.ts";
import { quorate, start, temporaryDir } from "./run.ts";

function figures(latencies: readonly number[], seconds: number, errors: readonly (readonly [string, number])[] = []) {
  const counted = new Latencies();
  for (const each of latencies) counted.add(each);
  return { latencies: counted, seconds, errors: new Map(errors) };
}

describe("verdict", () => {
  test("all is well", () => {
    expect(verdict(figures([0.1, 0.3], 1), 2)).toEqual({
      passed: true,
      lines: [
        "PASS: Throughput is 3 writes/s",
        "PASS: Slowest request took 0.300000s",
        "PASS: Stddev is 0.100000s",
        "PASS",
      ],
    });
  });

  test("too few, too slow, too uneven", () => {
    expect(verdict(figures([0, 0.6], 1), 10)).toEqual({
      passed: false,
      lines: [
        ...["FAIL: Throughput too low: 3 writes/s", "Slowest request took too long: 0.600000s"],
        ...["Stddev too high: 0.300000s", "FAIL"],
      ],
    });
  });

  test("errors, and nothing written at all", () => {
    expect(verdict(figures([], 0, [["etcdserver: no leader", 2]]), 150)).toEqual({
      passed: false,
      lines: [
        ...["FAIL: too many errors", "FAIL: ERROR(etcdserver: no leader) -> 2", "FAIL: Throughput too low: 1 writes/s"],
        ...["PASS: Slowest request took 0.000000s", "PASS: Stddev is 0.000000s", "FAIL"],
      ],
    });
  });

  test("nine tenths of the load are not enough, more are", () => {
    expect(verdict(figures(Array(90).fill(0), 1), 100).passed).toBe(false);
    expect(verdict(figures(Array(91).fill(0), 1), 100).passed).toBe(true);
  });

  test("the loads are etcdctl's", () => {
    expect(Object.keys(LOADS)).toEqual(["s", "small", "m", "medium", "l", "large", "xl", "xLarge"]);
    expect(["s", "m", "l", "xl"].map((name) => Object.values(LOADS[name]!))).toEqual([
      ...[
        [150, 50],
        [1_000, 200],
        [8_000, 500],
        [15_000, 1_000],
      ],
    ]);
  });
});

describe("the rate of writes", () => {
  function rig(load = LOADS.l!) {
    const clock = { now: 0 };
    let given = 0;
    let ended = 0;
    const rate = new Rate(
      load,
      () => clock.now,
      (now) => now < 10_000,
    );
    const ask = (): void => {
      void rate.turn().then((goesOn) => {
        if (goesOn) given += 1;
        else ended += 1;
      });
    };
    const pass = async (ms: number): Promise<void> => {
      clock.now += ms;
      rate.release();
      await Promise.resolve();
    };
    return { rate, ask, pass, given: () => given, ended: () => ended };
  }

  test("is even, however late the timer", async () => {
    const { ask, pass, given } = rig();
    for (let i = 0; i < 500; i++) ask();
    let asked = 500;
    for (const ms of [1, 1, 3, 20, 1, 0.5, 13.5, 60]) {
      await pass(ms);
      for (; asked < given() + 500; asked++) ask();
    }
    expect(given()).toBe(1 + 800);
  });

  test("of what nobody took, no more waits than one write for each client", async () => {
    const { ask, pass, given } = rig();
    await pass(2_000);
    for (let i = 0; i < 2_000; i++) ask();
    await pass(0);
    expect(given()).toBe(500);
    await pass(10);
    expect(given()).toBe(580);
  });

  test("ends for all who wait", async () => {
    const { ask, pass, given, ended } = rig();
    for (let i = 0; i < 500; i++) ask();
    await pass(10_000);
    expect(given()).toBe(1);
    expect(ended()).toBe(499);
  });
});

test("a short run: refused on keys that are there, judged, and cleaned up after", async () => {
  const member = start(["server", "--dir", temporaryDir(), "--listen-client-url", "ws://127.0.0.1:0", "--json"]);
  await member.until(({ stdout }) => stdout.includes("\n"));
  const endpoints = [
    "--endpoints",
    (JSON.parse(member.stdout) as { clientUrl: string }).clientUrl.replace("ws://", ""),
  ];
  const check = (...flags: string[]) => quorate(["check", "perf", "--duration", "2s", ...flags, ...endpoints]);
  expect(await check("--load", "huge")).toEqual({ code: 4, stdout: "", stderr: "Error: unknown load option huge\n" });
  expect(await check("--prefix", "")).toMatchObject({ code: 128, stdout: "" });

  await quorate(["put", "taken/key", "1", ...endpoints]);
  expect(await check("--prefix", "taken/")).toEqual({
    code: 3,
    stdout: "",
    stderr: `Error: prefix "taken/" has keys. Delete with 'quorate del --prefix taken/' first\n`,
  });

  const ran = await check("--load", "s", "--prefix", "mine/", "--auto-compact", "--auto-defrag");
  // How fast this machine is just now is not for this test to say.
  const lines = ran.stdout.trimEnd().split("\n");
  const [, at] = /^Compacting with revision (\d+)$/.exec(lines[0]!)!;
  expect(lines[1]).toBe(`Compacted with revision ${at}`);
  expect(lines[2]).toMatch(/^(PASS: Throughput is|FAIL: Throughput too low:) \d+ writes\/s$/);
  expect(lines[3]).toMatch(/^(PASS: Slowest request took|Slowest request took too long:) \d+\.\d{6}s$/);
  expect(lines[4]).toMatch(/^(PASS: Stddev is|Stddev too high:) \d+\.\d{6}s$/);
  expect(lines.slice(5)).toEqual([ran.code === 0 ? "PASS" : "FAIL"]);
  expect(ran.stderr).toMatch(/^--auto-defrag: .*\n$/);
  // 150 writes a second for two seconds, and the delete of them all: never more than the rate.
  const writes = Number(at) - 3;
  expect(writes).toBeGreaterThan(20);
  expect(writes).toBeLessThanOrEqual(310);
  expect((await quorate(["get", "", "--prefix", "--keys-only", ...endpoints])).stdout).toBe("taken/key\n\n");
});
