import * as v from "valibot";
import { describe, expect, test } from "vitest";
import { type ConfigUpdate, ConfigWatcher } from "../../src/concurrency/config-watcher.ts";
import { failure, member, Stage } from "./member.ts";

const Limits = v.object({ max: v.pipe(v.number(), v.minValue(1)), region: v.optional(v.string(), "eu") });

/** The next so many updates, each as a short text. */
async function told<T>(updates: AsyncIterator<ConfigUpdate<T>>, count: number): Promise<string[]> {
  const all: string[] = [];
  while (all.length < count) {
    const next = await updates.next();
    if (next.done === true) return [...all, "end"];
    const { value } = next;
    all.push(value.kind === "value" ? JSON.stringify(value.value) : value.kind);
  }
  return all;
}

describe("a ConfigWatcher", () => {
  test("has the value that is there, follows it, and keeps the last good one", async () => {
    const { client } = await member();
    await client.put("limits", '{"max":1}');
    await using config = await ConfigWatcher.open(client, "limits", Limits);
    expect(config.current).toEqual({ max: 1, region: "eu" });
    expect(config.revision).toBe(2);
    const updates = config.updates();
    expect(await told(updates, 1)).toEqual(['{"max":1,"region":"eu"}']);
    await client.put("limits", '{"max":2,"region":"us"}');
    expect(await told(updates, 1)).toEqual(['{"max":2,"region":"us"}']);
    for (const bad of ['{"max":0}', "{", '{"max":"2"}']) {
      await client.put("limits", bad);
      expect(await told(updates, 1)).toEqual(["invalid"]);
      expect(config.current).toEqual({ max: 2, region: "us" });
      expect(config.revision).toBe(3);
    }
    await client.put("limits", '{"max":3}');
    expect(await told(updates, 1)).toEqual(['{"max":3,"region":"eu"}']);
    await client.delete("limits");
    expect(await told(updates, 1)).toEqual(["absent"]);
    expect([config.current, config.revision]).toEqual([undefined, undefined]);
    await client.put("limits", '{"max":4}');
    expect(await told(updates, 1)).toEqual(['{"max":4,"region":"eu"}']);
    await config.close();
    await config.close();
    expect(await told(updates, 1)).toEqual(["end"]);
    expect(config.current).toEqual({ max: 4, region: "eu" });
  });

  test("says by name what is wrong, where, and since when", async () => {
    const { client } = await member();
    await client.put("limits", '{"max":0}');
    await using config = await ConfigWatcher.open(client, "limits", Limits);
    expect(config.current).toBeUndefined();
    const { value: update } = await config.updates().next();
    expect(update).toMatchObject({
      ...{ kind: "invalid", revision: 2, issues: [{ path: [{ key: "max" }] }] },
      error: { code: "INVALID_CONFIG", outcome: "rejected", details: { key: "limits", revision: 2 } },
    });
    if (update?.kind !== "invalid") return expect.fail("it was not reported");
    expect(update.error.message).toMatch(/^quorate: the config value is invalid: max: Invalid value/);
  });

  test("takes a function, also one that waits; what it throws is the cause", async () => {
    const { client } = await member();
    const oops = new RangeError("too much");
    await using config = await ConfigWatcher.open(client, "limit", async (value) => {
      await Promise.resolve();
      if (typeof value !== "number" || value > 10) throw oops;
      return value * 2;
    });
    const updates = config.updates();
    expect(await told(updates, 1)).toEqual(["absent"]);
    await client.put("limit", "4");
    expect(await told(updates, 1)).toEqual(["8"]);
    await client.put("limit", "11");
    const { value: update } = await updates.next();
    expect(update).toMatchObject({ kind: "invalid", error: { cause: oops }, issues: [{ message: "too much" }] });
    expect(config.current).toBe(8);
  });

  test("takes a schema that is a function, and another encoding than JSON", async () => {
    const { client } = await member();
    await client.put("name", "plain text");
    const schema = Object.assign(() => expect.fail("not the function"), {
      "~standard": { version: 1, vendor: "test", validate: (value: unknown) => ({ value: String(value) }) },
    } as const);
    await using config = await ConfigWatcher.open(client, "name", schema, { parse: (kv) => kv.text() });
    expect(config.current).toBe("plain text");
  });

  test("a reader that is slow is told the newest, and that something invalid came after it; one that is not, all", async () => {
    const { client } = await member();
    await using config = await ConfigWatcher.open(client, "n", v.number());
    const slow = config.updates();
    const quick = config.updates();
    expect(await told(quick, 1)).toEqual(["absent"]);
    for (const value of ["1", "2", "x", "3", "y", "z"]) {
      await client.put("n", value);
      await quick.next();
    }
    expect(await told(slow, 2)).toEqual(["3", "invalid"]);
    expect(await told(config.updates(), 2)).toEqual(["3", "invalid"]);
    await client.put("n", "4");
    expect(await told(slow, 1)).toEqual(["4"]);
    await slow.return?.();
    expect(await told(slow, 1)).toEqual(["end"]);
  });

  test("ends with its client, by name", async () => {
    const { client } = await member();
    const config = await ConfigWatcher.open(client, "n", v.number());
    const updates = config.updates();
    await updates.next();
    const waiting = failure(updates.next());
    await client.close();
    expect(await waiting).toMatchObject({ code: "CANCELLED" });
    expect(await told(updates, 1)).toEqual(["end"]);
    const late = config.updates();
    expect(await told(late, 1)).toEqual(["absent"]);
    expect(await failure(late.next())).toMatchObject({ code: "CANCELLED" });
  });
});

describe("a ConfigWatcher through faults", () => {
  test("goes on through changes of leaders, and through a compaction of all that it missed", async () => {
    const stage = await Stage.open(441);
    const { client } = await stage.client();
    const watching = await stage.client();
    await stage.settle(client.put("n", "0"));
    const config = await stage.settle(ConfigWatcher.open(watching.client, "n", v.number()));
    for (let i = 1; i <= 3; i++) {
      const leader = stage.cluster.leader!;
      stage.cluster.kill(leader, "stays");
      await stage.world.runFor(3_000);
      await stage.settle(client.put("n", String(i)));
      stage.cluster.start(leader);
      expect(await stage.cluster.ready()).toBe(true);
      expect(await stage.world.until(() => config.current === i, 10_000)).toBe(true);
    }
    for (const [last, end] of [
      ["13", 13],
      [undefined, undefined],
    ] as const) {
      watching.host.pause();
      stage.world.network.crash("client1");
      for (let i = 10; i <= 12; i++) await stage.settle(client.put("n", String(i)));
      if (last === undefined) await stage.settle(client.delete("n"));
      else await stage.settle(client.put("n", last));
      await stage.settle(client.compact((await stage.settle(client.get("n"))).header.revision));
      watching.host.resume();
      expect(await stage.world.until(() => config.current === end, 10_000)).toBe(true);
    }
    await stage.settle(config.close());
  });
});
