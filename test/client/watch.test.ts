/** Watches of the shipped client against whole members, on virtual time. */
import { describe, expect, onTestFinished, test } from "vitest";
import { StoreError } from "../../src/base/errors.ts";
import { Client } from "../../src/client/client.ts";
import { op } from "../../src/client/txn.ts";
import type { Watch, WatchBatch, WatchOptions } from "../../src/client/watch.ts";
import type { WatchReceiver } from "../../src/protocol/channel.ts";
import type { ServerOptions } from "../../src/server/options.ts";
import { SimulatedCluster, SimulatedWorld, simulatedClient } from "../../src/testing/index.ts";
import { testSeed } from "../support/seed.ts";
import { Script } from "./scripted.ts";

const seed = testSeed();

class Setting {
  readonly world: SimulatedWorld;
  readonly cluster: SimulatedCluster;
  client!: Client;

  private constructor(nodes: number, server: Partial<ServerOptions>) {
    this.world = new SimulatedWorld({ seed });
    this.cluster = new SimulatedCluster(this.world, { nodes, server });
  }

  static async open(nodes = 1, server: Partial<ServerOptions> = {}): Promise<Setting> {
    const setting = new Setting(nodes, server);
    const { cluster, world } = setting;
    for (const name of cluster.names) cluster.start(name);
    expect(await cluster.ready(), cluster.failures.join("; ")).toBe(true);
    setting.client = await setting.another("client", cluster.names);
    onTestFinished(async () => {
      await world.settle(setting.client.close());
      for (const name of cluster.names) cluster.kill(name, "stays");
    });
    return setting;
  }

  another(host: string, members: readonly string[]): Promise<Client> {
    return simulatedClient(
      this.world,
      host,
      members.map((name) => SimulatedCluster.clientUrl(name)),
    );
  }

  settle<T>(promise: Promise<T>): Promise<T> {
    return this.world.settle(promise, 120_000);
  }

  put(key: string, value = "v"): Promise<{ revision: number }> {
    return this.settle(this.client.put(key, value, { timeoutMs: 30_000 }));
  }

  async opened(key: string, options: WatchOptions = {}, client: Client = this.client): Promise<Watch> {
    const watch = client.watch(key, options);
    await this.settle(watch.opened());
    return watch;
  }

  async batch(watch: Watch): Promise<WatchBatch> {
    const { value } = await this.settle(watch.next());
    expect(value).toBeDefined();
    return value!;
  }

  /** Reads until so many events came. */
  async events(watch: Watch, count: number): Promise<string[]> {
    const all: string[] = [];
    while (all.length < count) all.push(...shown(await this.batch(watch)));
    return all;
  }

  failure(watch: Watch): Promise<StoreError> {
    return this.settle(caught(watch.next()));
  }
}

async function caught(promise: Promise<unknown>): Promise<StoreError> {
  const error: unknown = await promise.then(
    (value) => expect.fail(`answered: ${JSON.stringify(value)}`),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(StoreError);
  return error as StoreError;
}

function shown({ events }: WatchBatch): string[] {
  return events.map(({ type, kv, prevKv, expired }) => {
    const what = type === "put" ? `put ${kv.keyText()}=${kv.text()}` : `delete ${kv.keyText()}`;
    const was = prevKv === undefined ? "" : ` was ${prevKv.text()}`;
    return `${kv.modRevision} ${what}${was}${expired === true ? " expired" : ""}`;
  });
}

describe("what a watch tells", () => {
  test("what happens after it was opened, with what was before", async () => {
    const at = await Setting.open();
    await at.put("a", "1");
    const watch = await at.opened("a", { prevKv: true });
    await at.put("a", "2");
    await at.put("b", "other");
    await at.settle(at.client.delete("a"));
    expect(await at.events(watch, 2)).toEqual(["3 put a=2 was 1", "5 delete a was 2"]);
  });

  test("a prefix from a past revision, whole revisions at a time", async () => {
    const at = await Setting.open();
    await at.put("a/1", "x");
    await at.settle(at.client.txn().then(op.put("a/2", "y"), op.delete("a/1"), op.put("b", "z")).commit());
    const watch = at.client.watch("a/", { prefix: true, startRevision: 1 });
    const batch = await at.batch(watch);
    expect(shown(batch)).toEqual(["2 put a/1=x", "3 put a/2=y", "3 delete a/1"]);
    expect(batch.revision).toBe(3);
  });

  test("nothing below a start that lies ahead", async () => {
    const at = await Setting.open();
    const watch = await at.opened("a", { startRevision: 4 });
    for (const value of ["2", "3", "4", "5"]) await at.put("a", value);
    expect(await at.events(watch, 2)).toEqual(["4 put a=4", "5 put a=5"]);
  });

  test("filters leave events out", async () => {
    const at = await Setting.open();
    const [deletes, puts] = [await at.opened("a", { noPut: true }), await at.opened("a", { noDelete: true })];
    await at.put("a", "1");
    await at.settle(at.client.delete("a"));
    await at.put("a", "2");
    expect(await at.events(deletes, 1)).toEqual(["3 delete a"]);
    expect(await at.events(puts, 2)).toEqual(["2 put a=1", "4 put a=2"]);
  });

  test("progress on request, once it has seen everything", async () => {
    const at = await Setting.open();
    const watch = await at.opened("a");
    await at.put("b", "1");
    watch.requestProgress();
    const batch = await at.batch(watch);
    expect(batch.events).toEqual([]);
    expect(batch.revision).toBe(2);
  });

  test("progress by itself, for who asked for it", async () => {
    const at = await Setting.open(1, { watchProgressIntervalMs: 1_000 });
    const watch = await at.opened("a", { progressNotify: true });
    await at.put("b", "1");
    expect((await at.batch(watch)).revision).toBe(2);
  });

  test("a key that went with its lease says so", async () => {
    const at = await Setting.open();
    const { id } = await at.settle(at.client.lease.grant(2));
    await at.settle(at.client.put("a", "1", { lease: id }));
    const watch = await at.opened("a");
    expect(await at.events(watch, 1)).toEqual(["3 delete a expired"]);
  });

  test("getAndWatch misses nothing in between", async () => {
    const at = await Setting.open();
    await at.put("a/1", "x");
    const { kvs, watch } = await at.settle(at.client.getAndWatch("a/", { prefix: true }));
    expect(kvs.map((kv) => kv.text())).toEqual(["x"]);
    await at.put("a/2", "y");
    expect(await at.events(watch, 1)).toEqual(["3 put a/2=y"]);
  });

  test("a revision larger than a message comes in parts and is told whole", async () => {
    const at = await Setting.open();
    const value = "x".repeat(100_000);
    for (let i = 10; i < 40; i++) await at.put(`a/${i}`, value);
    const watch = await at.opened("a/", { prefix: true, prevKv: true });
    await at.settle(at.client.delete("a/", { prefix: true }));
    const { revision, events } = await at.batch(watch);
    expect(revision).toBe(32);
    expect(events.map(({ kv }) => kv.keyText())).toEqual(Array.from({ length: 30 }, (_, i) => `a/${i + 10}`));
    expect(events.every(({ prevKv }) => prevKv?.text() === value)).toBe(true);
    await at.put("a/50", "after");
    expect(await at.events(watch, 1)).toEqual(["33 put a/50=after"]);
  });

  test("many watches on one connection each hear their own", async () => {
    const at = await Setting.open();
    const watches = await Promise.all(Array.from({ length: 200 }, (_, i) => at.opened(`k${i}`)));
    for (let i = 0; i < 200; i += 50) await at.put(`k${i}`);
    for (let i = 0; i < 200; i += 50) expect(await at.events(watches[i]!, 1)).toEqual([`${2 + i / 50} put k${i}=v`]);
  });
});

describe("how a watch ends", () => {
  test("a start that is compacted, with the compact revision", async () => {
    const at = await Setting.open();
    for (const value of ["1", "2", "3"]) await at.put("a", value);
    await at.settle(at.client.compact(4, { physical: true }));
    const error = await at.failure(at.client.watch("a", { startRevision: 2 }));
    expect(error).toMatchObject({ code: "COMPACTED", details: { compactRevision: 4 } });
    expect(await at.events(at.client.watch("a", { startRevision: 4 }), 1)).toEqual(["4 put a=3"]);
  });

  test("close, leaving a loop and a signal release it at the server", async () => {
    const at = await Setting.open();
    const controller = new AbortController();
    const [closed, left, signalled] = [
      await at.opened("a"),
      await at.opened("a"),
      await at.opened("a", { signal: controller.signal }),
    ];
    const server = at.cluster.server(at.cluster.names[0]!)!;
    expect(server.figures().watchers).toBe(3);
    await closed.close();
    expect(await closed.next()).toEqual({ done: true, value: undefined });
    await at.put("a");
    const looping = (async () => {
      for await (const batch of left) return batch.revision;
      return 0;
    })();
    expect(await at.settle(looping)).toBe(2);
    const reading = caught(signalled.next().then(() => signalled.next()));
    await at.world.runFor(50);
    controller.abort(new Error("enough"));
    expect(await at.settle(reading)).toMatchObject({ code: "CANCELLED", cause: new Error("enough") });
    await at.world.runFor(50);
    expect(server.figures().watchers).toBe(0);
    expect(server.figures().watchStreams).toBe(0);
  });

  test("with its client", async () => {
    const at = await Setting.open();
    const client = await at.another("second", at.cluster.names);
    const watch = await at.opened("a", {}, client);
    const reading = caught(watch.next());
    await at.settle(client.close());
    expect(await at.settle(reading)).toMatchObject({ code: "CANCELLED", message: "quorate: the client is closed" });
    expect(() => client.watch("a")).toThrow("the client is closed");
  });

  test.each<[string, string, WatchOptions, string]>([
    ["a start below 0", "a", { startRevision: -1 }, "startRevision"],
    ["a start that is no whole number", "a", { startRevision: 1.5 }, "startRevision"],
    ["an empty range", "b", { rangeEnd: "a" }, "watcher range is empty"],
    ["two selections", "a", { prefix: true, rangeEnd: "b" }, "choose one"],
  ])("%s is refused at once, by name", async (_, key, options, text) => {
    const at = await Setting.open();
    expect(() => at.client.watch(key, options)).toThrow(text);
    expect(at.cluster.server(at.cluster.names[0]!)!.figures().watchers).toBe(0);
  });

  test("a second reader is refused, the first goes on", async () => {
    const at = await Setting.open();
    const watch = await at.opened("a");
    const first = watch.next();
    expect(await at.settle(caught(watch.next()))).toMatchObject({ code: "INVALID_REQUEST" });
    await at.put("a");
    expect(shown((await at.settle(first)).value!)).toEqual(["2 put a=v"]);
  });
});

describe("a watch goes on", () => {
  /** Puts `count` times while `trouble` happens; what the watch told must be every revision once, in order. */
  async function through(at: Setting, watch: Watch, rounds: number, trouble: (round: number) => void): Promise<void> {
    const told: number[] = [];
    const reading = (async () => {
      for await (const { events } of watch) {
        told.push(...events.map(({ kv }) => kv.modRevision));
        if (events.some(({ kv }) => kv.text() === "last")) return;
      }
    })();
    for (let round = 0; round < rounds; round++) {
      for (let i = 0; i < 5; i++) await at.put("a", `${round}.${i}`);
      trouble(round);
      await at.world.runFor(20);
    }
    const { revision } = await at.put("a", "last");
    await at.settle(reading);
    // A put that was tried twice may have happened twice: the store tells how many there were.
    expect(told).toEqual(Array.from({ length: revision - 1 }, (_, i) => i + 2));
  }

  test("when members die, one after the other, the leader among them", async () => {
    const at = await Setting.open(3);
    const watch = await at.opened("a");
    let down: string | undefined;
    await through(at, watch, 6, () => {
      if (down !== undefined) at.cluster.start(down);
      down = at.cluster.leader ?? at.cluster.names[0]!;
      at.cluster.kill(down, "stays");
    });
  });

  test("when its own member dies and comes back, the only one it knows", async () => {
    const at = await Setting.open(3);
    const name = at.cluster.names.find((each) => each !== at.cluster.leader)!;
    const client = await at.another("second", [name]);
    const watch = await at.opened("a", {}, client);
    await through(at, watch, 4, (round) => {
      if (round % 2 === 0) at.cluster.kill(name, "stays");
      else at.cluster.start(name);
    });
  }, 30_000);

  test("elsewhere, when its member is cut off from the others", async () => {
    const at = await Setting.open(3);
    const { cluster, world } = at;
    const name = cluster.names.find((each) => each !== cluster.leader)!;
    const others = cluster.names.filter((each) => each !== name);
    const client = await at.another("second", [name, ...others]);
    const watch = await at.opened("a", { requireLeader: true }, client);
    const quiet = await at.opened("a", { requireLeader: false }, await at.another("third", [name]));
    for (const other of others) {
      cluster.cut(name, other);
      cluster.cut(other, name);
    }
    const { revision } = await at.settle((await at.another("fourth", others)).put("a", "new", { timeoutMs: 30_000 }));
    let told: number | undefined;
    void quiet.next().then(({ value }) => {
      told = value?.revision;
    });
    expect(await at.events(watch, 1)).toEqual([`${revision} put a=new`]);
    await world.runFor(5_000);
    expect(told).toBeUndefined();
    cluster.healCuts();
    expect(await world.until(() => told === revision, 60_000)).toBe(true);
  }, 30_000);

  test("and says so when it cannot: what it missed is compacted", async () => {
    const at = await Setting.open(3);
    const name = at.cluster.names.find((each) => each !== at.cluster.leader)!;
    const client = await at.another("second", [name]);
    const watch = await at.opened("a", {}, client);
    at.cluster.kill(name, "stays");
    const others = at.cluster.names.filter((each) => each !== name);
    at.client = await at.another("third", others);
    for (const value of ["1", "2", "3"]) await at.put("a", value);
    await at.settle(at.client.compact(4));
    at.cluster.start(name);
    expect(await at.failure(watch)).toMatchObject({ code: "COMPACTED", details: { compactRevision: 4 } });
  });
});

test("a reader that does not read holds a window at most, and nobody up; then it gets everything", async () => {
  const at = await Setting.open();
  const [slow, fast] = [await at.opened("a"), await at.opened("a")];
  const value = "x".repeat(100_000);
  const server = at.cluster.server(at.cluster.names[0]!)!;
  let told = 0;
  const reading = (async () => {
    for await (const { events } of fast) {
      told += events.length;
      if (told === 60) return;
    }
  })();
  for (let i = 0; i < 60; i++) await at.put("a", value);
  await at.settle(reading);
  expect(server.figures().slowWatchers).toBe(1);
  const revisions: number[] = [];
  while (revisions.length < 60) revisions.push(...(await at.batch(slow)).events.map(({ kv }) => kv.modRevision));
  expect(revisions).toEqual(Array.from({ length: 60 }, (_, i) => i + 2));
  await at.world.runFor(100);
  expect(server.figures().slowWatchers).toBe(0);
});

describe("within a process", () => {
  async function within(): Promise<{ at: Setting; client: Client }> {
    const at = await Setting.open();
    const channel = at.cluster.server(at.cluster.names[0]!)!.channel();
    const { clock, random } = at.world.host("inside").boot();
    const client = Client.inProcess({ clock, random, channel });
    onTestFinished(() => client.close());
    return { at, client };
  }

  test("the same, and what the reader does to a value reaches nobody else", async () => {
    const { at, client } = await within();
    const [one, other] = [await at.opened("a", {}, client), await at.opened("a", {}, client)];
    await at.put("a", "1");
    const { events } = await at.batch(one);
    events[0]!.kv.value.fill(0);
    expect(await at.events(other, 1)).toEqual(["2 put a=1"]);
    expect(await at.events(client.watch("a", { startRevision: 1 }), 1)).toEqual(["2 put a=1"]);
  });

  test("ends with the member", async () => {
    const { at, client } = await within();
    const watch = await at.opened("a", {}, client);
    const reading = caught(watch.next());
    await at.settle(at.cluster.server(at.cluster.names[0]!)!.close({ handOver: false }));
    expect(await at.settle(reading)).toMatchObject({ code: "STOPPED" });
  });

  test("a slow reader is a cursor here too", async () => {
    const { at, client } = await within();
    const watch = await at.opened("a", {}, client);
    const value = "x".repeat(100_000);
    for (let i = 0; i < 40; i++) await at.put("a", value);
    const server = at.cluster.server(at.cluster.names[0]!)!;
    expect(server.figures().slowWatchers).toBe(1);
    expect(await at.events(watch, 40)).toHaveLength(40);
  });
});

test("a learner's refusal is not the end of a watch whose voter comes back", async () => {
  const script = await Script.open(2);
  const [voter, learner] = [script.member(1), script.member(2)];
  const idle = { request() {}, consumed() {}, close() {} };
  const streams: WatchReceiver[] = [];
  voter.watching = (receiver) => {
    streams.push(receiver);
    return idle;
  };
  let refusals = 0;
  learner.watching = (receiver) => {
    refusals += 1;
    script.world.clock.defer(() => receiver.ended(new StoreError("NOT_SUPPORTED_FOR_LEARNER")));
    return idle;
  };
  const watch = script.client.watch("a");
  await script.world.runFor(10);
  const { dialed } = voter;
  voter.dies();
  streams[0]!.ended(new StoreError("CONNECTION_LOST"));
  await script.world.runFor(2_000);
  expect(refusals).toBeGreaterThan(2);
  voter.dialed = dialed;
  await script.world.runFor(2_000);
  expect(streams).toHaveLength(2);
  await watch.close();
});
