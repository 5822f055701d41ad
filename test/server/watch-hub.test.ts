import { describe, expect, test } from "vitest";
import { decodeUtf8, encodeUtf8 } from "../../src/base/bytes.ts";
import { prng, randomInt } from "../../src/base/prng.ts";
import {
  type WatchCreate,
  WatchHub,
  type WatchHubOptions,
  type WatchMessage,
  type WatchSink,
  type WatchStream,
} from "../../src/server/watch-hub.ts";
import type { WatchEvent, WatchSource } from "../../src/server/watch-reader.ts";
import { VirtualClock } from "../../src/testing/virtual-clock.ts";
import { seededRandom } from "../support/random.ts";
import { testSeed } from "../support/seed.ts";
import { MemorySource, type Told, type Write } from "./memory-source.ts";

const seed = testSeed();
const ENOUGH = 1 << 20;

class Sink implements WatchSink {
  writable = true;
  messages: WatchMessage[] = [];
  onSend: (message: WatchMessage) => void = () => {};

  send(message: WatchMessage): void {
    this.messages.push(message);
    this.onSend(message);
  }

  /** What came since the last call, without the fields that say nothing. */
  take(): object[] {
    const taken = this.messages.map(brief);
    this.messages = [];
    return taken;
  }
}

const DULL = { created: false, canceled: false, compactRevision: 0, cancelReason: "", fragment: false };

function brief(message: WatchMessage): object {
  const { watchId, revision, events } = message;
  const said = Object.entries(DULL).filter(([name, dull]) => message[name as keyof typeof DULL] !== dull);
  const told = said.map(([name]) => [name, message[name as keyof typeof DULL]]);
  return { watchId, revision, ...Object.fromEntries(told), ...(events.length > 0 ? { events: events.map(show) } : {}) };
}

function show({ type, kv, prevKv }: WatchEvent): string {
  const what = type === "put" ? `put ${decodeUtf8(kv.key)}=${decodeUtf8(kv.value)}` : `delete ${decodeUtf8(kv.key)}`;
  return `${kv.modRevision} ${what}${prevKv === undefined ? "" : ` was ${decodeUtf8(prevKv.value)}`}`;
}

function world({
  source = new MemorySource(ENOUGH),
  ...options
}: Partial<Omit<WatchHubOptions, "source">> & { readonly source?: MemorySource } = {}) {
  const clock = new VirtualClock();
  const failures: unknown[] = [];
  const hub = new WatchHub({
    clock,
    random: seededRandom(1),
    onFailure: (error) => failures.push(error),
    ...options,
    source,
  });
  const sink = new Sink();
  const stream = hub.open(sink);
  return {
    clock,
    source,
    hub,
    sink,
    stream,
    failures,
    write: (...writes: readonly Write[]): void => {
      source.write(...writes);
      hub.published();
    },
    watch: (key: string, more: Partial<WatchCreate> & { readonly end?: string } = {}): void => {
      const { end, ...rest } = more;
      stream.create({ key: encodeUtf8(key), ...rest, ...(end === undefined ? {} : { rangeEnd: encodeUtf8(end) }) });
    },
    /** Runs everything that is due now. */
    settle: (): void => {
      while ((clock.nextTime() ?? Infinity) <= clock.now()) clock.runNext();
    },
    advance: (ms: number): void => {
      const end = clock.now() + ms;
      while ((clock.nextTime() ?? Infinity) <= end) clock.runNext();
      clock.advanceTo(end);
    },
  };
}

/** What one watcher of a store that does not move is told. */
function readAll(
  source: WatchSource,
  request: WatchCreate,
): { messages: WatchMessage[]; failures: unknown[]; hub: WatchHub } {
  const clock = new VirtualClock();
  const failures: unknown[] = [];
  const hub = new WatchHub({ source, clock, random: seededRandom(1), onFailure: (error) => failures.push(error) });
  const sink = new Sink();
  hub.open(sink).create(request);
  while (clock.runNext()) {}
  return { messages: sink.messages, failures, hub };
}

describe("creating a watcher", () => {
  test("is answered with its id and the current revision; ids count from 0 and skip those taken", () => {
    const { sink, stream, watch, write } = world();
    write({ put: "a" });
    watch("a");
    watch("a", { watchId: 1 });
    watch("a");
    watch("a", { watchId: -7 });
    stream.cancel(0);
    watch("a");
    expect(sink.take()).toEqual([
      { watchId: 0, revision: 2, created: true },
      { watchId: 1, revision: 2, created: true },
      { watchId: 2, revision: 2, created: true },
      { watchId: -7, revision: 2, created: true },
      { watchId: 0, revision: 2, canceled: true },
      { watchId: 3, revision: 2, created: true },
    ]);
  });

  test.each<[string, Partial<WatchCreate> & { end?: string }, string]>([
    ["a negative start", { startRevision: -1 }, "etcdserver: mvcc: required revision has been compacted"],
    ["an end at the key", { end: "k" }, "mvcc: watcher range is empty"],
    ["an end below the key", { end: "a" }, "mvcc: watcher range is empty"],
    ["an id in use", { watchId: 5 }, "mvcc: duplicate watch ID provided on the WatchStream"],
  ])("with %s is refused", (_name, more, cancelReason) => {
    const { hub, sink, watch, write, settle } = world();
    watch("other", { watchId: 5 });
    sink.take();
    watch("k", more);
    expect(sink.take()).toEqual([{ watchId: -1, revision: 1, created: true, canceled: true, cancelReason }]);
    expect(hub.watchers).toBe(1);
    write({ put: "k" });
    settle();
    expect(sink.take()).toEqual([]);
  });

  test("with an empty key watches one zero byte, and with an open end everything", () => {
    const { sink, watch, write, settle } = world();
    watch("");
    watch("", { end: "\0" });
    sink.take();
    write({ put: "\0", value: "x" });
    write({ put: "z", value: "y" });
    settle();
    expect(sink.take()).toEqual([
      { watchId: 0, revision: 2, events: ["2 put \0=x"] },
      { watchId: 1, revision: 3, events: ["2 put \0=x", "3 put z=y"] },
    ]);
  });
});

describe("events", () => {
  test("come from after the current revision on, from an old one, or from one to come", () => {
    const { sink, watch, write, settle } = world();
    for (const value of ["1", "2", "3"]) write({ put: "k", value });
    watch("k");
    watch("k", { startRevision: 3 });
    watch("k", { startRevision: 6 });
    watch("k", { startRevision: 1 });
    for (const value of ["4", "5", "6"]) write({ put: "k", value });
    settle();
    const byId = new Map<number, string[]>();
    for (const message of sink.messages) {
      byId.set(message.watchId, [...(byId.get(message.watchId) ?? []), ...message.events.map(show)]);
    }
    const all = [1, 2, 3, 4, 5, 6].map((i) => `${i + 1} put k=${i}`);
    expect([...byId]).toEqual([
      [0, all.slice(3)],
      [1, all.slice(1)],
      [2, all.slice(4)],
      [3, all],
    ]);
  });

  test("of one revision come together, in the order of execution", () => {
    const { sink, watch, write, settle } = world();
    write({ put: "a/2" }, { put: "a/1" }, { put: "b" });
    watch("a/", { end: "a0", startRevision: 1 });
    write({ put: "a/3" }, { delete: "a/", end: "a/3" });
    settle();
    expect(sink.take()).toEqual([
      { watchId: 0, revision: 2, created: true },
      {
        watchId: 0,
        revision: 3,
        events: ["2 put a/2=", "2 put a/1=", "3 put a/3=", "3 delete a/1", "3 delete a/2"],
      },
    ]);
  });

  test("carry what the key was before, unless it is created there or that is compacted", () => {
    const { source, hub, sink, watch, write, settle } = world();
    write({ put: "k", value: "1" });
    write({ put: "k", value: "2" });
    write({ delete: "k" });
    write({ put: "k", value: "3" });
    watch("k", { startRevision: 2, prevKv: true });
    settle();
    expect(sink.messages[1]!.events.map(show)).toEqual([
      "2 put k=1",
      "3 put k=2 was 1",
      "4 delete k was 2",
      "5 put k=3",
    ]);
    sink.take();
    source.store.compact(3);
    hub.published();
    watch("k", { startRevision: 3, prevKv: true });
    settle();
    expect(sink.messages[1]!.events.map(show)).toEqual(["3 put k=2", "4 delete k was 2", "5 put k=3"]);
  });

  test("of a key that is put and deleted in one revision carry nothing of before", () => {
    const { sink, watch, write, settle } = world();
    watch("k", { prevKv: true });
    write({ put: "k", value: "1" }, { delete: "k" });
    settle();
    expect(sink.messages[1]!.events.map(show)).toEqual(["2 put k=1", "2 delete k"]);
  });

  test("that a filter drops send nothing when nothing is left", () => {
    const { sink, watch, write, settle } = world();
    watch("k", { noPut: true });
    watch("k", { noDelete: true });
    watch("k", { noPut: true, noDelete: true });
    sink.take();
    write({ put: "k", value: "1" });
    settle();
    expect(sink.take()).toEqual([{ watchId: 1, revision: 2, events: ["2 put k=1"] }]);
    write({ delete: "k" });
    settle();
    expect(sink.take()).toEqual([{ watchId: 0, revision: 3, events: ["3 delete k"] }]);
  });

  test("a deletion shows its key and revision and nothing else", () => {
    const { sink, watch, write, settle } = world();
    write({ put: "k", value: "1" });
    watch("k");
    write({ delete: "k" });
    settle();
    expect(sink.messages[1]!.events[0]!.kv).toEqual({
      key: encodeUtf8("k"),
      createRevision: 0,
      modRevision: 3,
      version: 0,
      value: new Uint8Array(0),
      lease: 0n,
    });
  });
});

describe("many watchers of one key", () => {
  test("are given the very same events, read once; who wants others gets others", () => {
    const at = world();
    for (let i = 0; i < 3; i++) at.watch("a");
    at.watch("a", { prevKv: true });
    at.watch("a", { noDelete: true });
    at.watch("a", { end: "b" });
    at.settle();
    at.sink.take();
    at.write({ put: "a", value: "1" });
    at.settle();
    const events = at.sink.messages.map((message) => message.events);
    expect(events).toHaveLength(6);
    expect([1, 2].map((i) => events[i] === events[0])).toEqual([true, true]);
    expect(new Set(events).size).toBe(4);
  });

  test("are each given everything there is: what came meanwhile is read for those who follow", () => {
    const at = world();
    for (let i = 0; i < 3; i++) at.watch("a");
    at.settle();
    at.sink.take();
    at.sink.onSend = () => {
      at.sink.onSend = () => {};
      at.write({ put: "a", value: "2" });
    };
    at.write({ put: "a", value: "1" });
    at.settle();
    expect(at.sink.take()).toEqual([
      { watchId: 0, revision: 2, events: ["2 put a=1"] },
      { watchId: 1, revision: 3, events: ["2 put a=1", "3 put a=2"] },
      { watchId: 2, revision: 3, events: ["2 put a=1", "3 put a=2"] },
      { watchId: 0, revision: 3, events: ["3 put a=2"] },
    ]);
  });

  test.each([
    ["many events", 100, ""],
    ["large ones", 1, "x".repeat(400_000)],
  ])("share a turn of the loop with others, though what they are given is read once: %s", (_what, count, value) => {
    const { clock, sink, watch, write } = world();
    for (let i = 0; i < count; i++) write({ put: "k", value });
    for (let i = 0; i < 400; i++) watch("k", { startRevision: 2 });
    sink.messages = [];
    let told = 0;
    while (told < 400) {
      expect(clock.runNext()).toBe(true);
      const events = sink.messages.flatMap((message) => message.events);
      expect(events.length).toBeLessThan(12_000);
      expect(events.reduce((sum, { kv }) => sum + kv.value.length, 0)).toBeLessThan(50 << 20);
      told += sink.messages.length;
      sink.messages = [];
    }
  });
});

describe("watchers that come back after a while", () => {
  test.each<[string, string | undefined]>([
    ["a key each", undefined],
    ["a narrow range each", "x"],
  ])("are not read for revision by revision, of which none may concern them: %s", (_name, end) => {
    const at = world({ source: new MemorySource(16 * ENOUGH) });
    for (let i = 0; i < 3_000; i++) at.write({ put: `busy/${i % 50}` });
    at.write({ put: "idle/7", value: "1" });
    for (let i = 0; i < 3_000; i++) at.write({ put: `busy/${i % 50}` });
    at.settle();
    for (let i = 0; i < 300; i++) {
      at.watch(`idle/${i}`, { startRevision: 2, ...(end === undefined ? {} : { end: `idle/${i}${end}` }) });
    }
    let turns = 0;
    while (at.clock.runNext()) turns += 1;
    // Revision by revision they would be 900 (LIVE_STEPS).
    expect(turns).toBeLessThan(20);
    expect(at.failures).toEqual([]);
    expect(at.sink.take().filter((told) => "events" in told)).toEqual([
      { watchId: 7, revision: 3_002, events: ["3002 put idle/7=1"] },
    ]);
  });
});

describe("old revisions", () => {
  /** Nothing of the past is in the history: a member that was just started. */
  const restarted = (past: (source: MemorySource) => void): MemorySource => {
    const before = new MemorySource(ENOUGH);
    past(before);
    return new MemorySource(ENOUGH, before);
  };

  test.each<[string, string, string | undefined]>([
    ["a key alone", "k/7", undefined],
    ["a narrow range", "k/7", "k/8"],
    ["a range of more keys than are read one by one", "k/", "k0"],
  ])("are read from the state, for %s", (_name, key, end) => {
    const source = restarted((past) => {
      for (let round = 0; round < 3; round++) {
        for (let i = 0; i < 1_500; i += 100) {
          past.write(...Array.from({ length: 100 }, (_, j) => ({ put: `k/${i + j}`, value: `${round}` })));
        }
      }
      past.write({ delete: "k/7", end: "k/8" });
    });
    const { sink, watch, write, settle } = world({ source });
    watch(key, { startRevision: 1, prevKv: true, ...(end === undefined ? {} : { end }) });
    settle();
    write({ put: "k/77", value: "last" });
    settle();
    const expected = source.expected(1, key, end).map(showTold);
    expect(sink.messages.flatMap(({ events }) => events.map(show))).toEqual(expected);
    // Each message of the catching up has the revision that the store stood at.
    expect(sink.messages[1]!.revision).toBe(47);
    if (end === undefined) return;
    expect(sink.messages.at(-1)!.revision).toBe(48);
    expect(sink.messages.length).toBeGreaterThan(3);
  });

  test("a key with very many versions comes in order, in batches", () => {
    const source = restarted((past) => {
      for (let i = 0; i < 700; i++) past.write({ put: i % 2 === 0 ? "a" : "b", value: String(i) }, { put: "c" });
    });
    const { sink, watch, settle } = world({ source });
    watch("a", { end: "c", startRevision: 100 });
    settle();
    expect(sink.messages.flatMap(({ events }) => events.map(show))).toEqual(
      source.expected(100, "a", "c").map(showTold).map(withoutPrevious),
    );
    for (const { events } of sink.messages) expect(events.length).toBeLessThanOrEqual(128);
  });

  test("below the compact revision there are none: the watcher is created, then canceled, and its id stays taken", () => {
    const { source, hub, sink, stream, watch, write, settle } = world();
    for (let i = 0; i < 4; i++) write({ put: "k" });
    source.store.compact(4);
    watch("k", { startRevision: 3 });
    watch("k", { startRevision: 4, watchId: 9 });
    settle();
    expect(sink.take()).toEqual([
      { watchId: 0, revision: 5, created: true },
      { watchId: 9, revision: 5, created: true },
      { watchId: 0, revision: 0, canceled: true, compactRevision: 4 },
      { watchId: 9, revision: 5, events: ["4 put k=", "5 put k="] },
    ]);
    write({ put: "k" });
    settle();
    expect(sink.take()).toEqual([{ watchId: 9, revision: 6, events: ["6 put k="] }]);
    stream.progress();
    expect(sink.take()).toEqual([]);
    stream.cancel(0);
    stream.progress();
    expect(sink.take()).toEqual([
      { watchId: 0, revision: 6, canceled: true },
      { watchId: -1, revision: 6 },
    ]);
    expect(hub.watchers).toBe(1);
  });

  test("a delete exactly at the compact revision is seen (B52)", () => {
    for (const end of [undefined, "k0", "\0"]) {
      const source = new MemorySource(ENOUGH);
      source.write({ put: "k", value: "1" });
      for (let i = 0; i < 1_100; i++) source.write({ put: `k/${i}` });
      source.write({ delete: "k" }, { put: "k/0", value: "x" });
      const at = source.store.revision;
      source.write({ put: "k/1", value: "y" });
      source.store.compact(at);
      while (source.store.keys.get("k")!.count > 1) source.dropSome(10_000);
      const { sink, watch, settle } = world({ source: new MemorySource(ENOUGH, source) });
      watch("k", { startRevision: at, ...(end === undefined ? {} : { end }) });
      settle();
      const more = end === undefined ? [] : [`${at} put k/0=x`, `${at + 1} put k/1=y`];
      expect(sink.messages.flatMap(({ events }) => events.map(show))).toEqual([`${at} delete k`, ...more]);
    }
  });

  test("the revision compacted at is read past the gaps that dropping left in it", () => {
    const source = new MemorySource(ENOUGH);
    for (let i = 0; i < 1_100; i++) source.write({ put: `k/${i}` });
    source.write({ put: "k/a" }, { delete: "k/a" }, { put: "k/b", value: "x" });
    const at = source.store.revision;
    source.write({ put: "k/c" });
    source.store.compact(at);
    for (let i = 0; i < 100; i++) source.dropSome(1_000);
    expect(source.find(at, 0)).toBeUndefined();
    for (const key of ["k/", "k/a"]) {
      const { sink, watch, settle } = world({ source: new MemorySource(ENOUGH, source) });
      watch(key, { end: "k0", startRevision: at });
      settle();
      expect(sink.messages.flatMap(({ events }) => events.map(show))).toEqual([
        `${at} delete k/a`,
        `${at} put k/b=x`,
        `${at + 1} put k/c=`,
      ]);
    }
  });

  test("a record that is being dropped is left alone, though the index still names it", () => {
    let hits = 0;
    for (let versions = 240; versions < 270; versions++) {
      const source = new MemorySource(ENOUGH);
      for (let i = 0; i < versions; i++) source.write({ put: "k" });
      source.write({ put: "k", value: "1" }, { delete: "k" }, { put: "k", value: "2" });
      const at = source.store.revision;
      source.store.compact(at);
      // The compaction stops within the key, which keeps its last record alone.
      source.dropSome(1);
      if (source.find(at, 0) !== undefined || source.find(at, 1) === undefined) continue;
      hits += 1;
      for (const wide of [false, true]) {
        if (wide) source.write(...Array.from({ length: 1_100 }, (_, i) => ({ put: `k${i}` })));
        // From the state, of which only the index is half done.
        const { messages, failures } = readAll(source.withoutHistory(), {
          key: encodeUtf8("k"),
          rangeEnd: encodeUtf8("l"),
          startRevision: at,
        });
        expect(failures).toEqual([]);
        expect(show(messages[1]!.events[0]!)).toBe(`${at} put k=2`);
      }
    }
    expect(hits).toBe(1);
  });

  test("of the revision compacted at, the history still tells what the state has dropped", () => {
    const { source, sink, watch, write, settle } = world();
    write({ put: "k", value: "1" }, { delete: "k" });
    source.store.compact(2);
    source.dropSome(1_000);
    expect(source.find(2, 0)).toBeUndefined();
    watch("k", { startRevision: 2 });
    settle();
    expect(sink.messages[1]!.events.map(show)).toEqual(["2 put k=1", "2 delete k"]);
  });

  test("of which a filter drops very many do not hide what comes after them", () => {
    const source = restarted((past) => {
      for (let i = 0; i < 300; i++) past.write({ put: "k" });
      past.write({ delete: "k" });
    });
    const { sink, watch, settle } = world({ source });
    watch("k", { startRevision: 2, noPut: true });
    settle();
    expect(sink.take()).toEqual([
      { watchId: 0, revision: 302, created: true },
      { watchId: 0, revision: 302, events: ["302 delete k"] },
    ]);
  });

  test("a compaction while they are read takes nothing from the batch under way", () => {
    const source = restarted((past) => {
      for (let i = 0; i < 1_100; i++) past.write({ put: `k/${i}` });
      past.write({ delete: "k/", end: "k0" });
    });
    const { clock, sink, watch, failures, settle } = world({ source });
    const at = source.store.revision;
    watch("k/", { end: "k0", startRevision: at });
    clock.runNext();
    expect(sink.messages).toHaveLength(1);
    // Nobody else holds these records back, and nothing later needs them.
    source.write({ put: "other" });
    source.store.compact(source.store.revision);
    for (let i = 0; i < 100; i++) source.dropSome(1_000);
    settle();
    expect(failures).toEqual([]);
    expect(sink.messages[1]!.events).toHaveLength(1_100);
    // Read to its end, the pin is gone and so are the records.
    for (let i = 0; i < 100; i++) source.dropSome(1_000);
    expect(source.find(at, 0)).toBeUndefined();
  });

  test("a revision that is missing stops the hub by name instead of being skipped", () => {
    const source = restarted((past) => {
      for (let i = 0; i < 1_100; i++) past.write({ put: `k/${i}` });
    });
    const damaged = {
      store: source.store,
      find: (main: number, sub: number) => (main === 9 ? undefined : source.find(main, sub)),
    };
    const { messages, failures, hub } = readAll(damaged, {
      key: encodeUtf8("k/"),
      rangeEnd: encodeUtf8("k0"),
      startRevision: 5,
    });
    expect(failures).toEqual([expect.objectContaining({ code: "STATE_CORRUPT" })]);
    expect(messages).toHaveLength(1);
    expect(hub.streams).toBe(0);
  });
});

describe("a revision too large for the history", () => {
  test("wakes exactly those whom it concerns, and is delivered whole", () => {
    const { source, hub, sink, watch, write, settle } = world({ source: new MemorySource(4_000) });
    watch("k/5");
    watch("k/", { end: "k0" });
    watch("other", { end: "p" });
    sink.take();
    write(...Array.from({ length: 3_000 }, (_, i) => ({ put: `k/${i}`, value: "x" })));
    expect(source.store.history.changesAt(2)).toBeUndefined();
    write({ put: "k/5", value: "y" });
    settle();
    const messages = sink.messages.filter(({ watchId }) => watchId === 1);
    expect(messages[0]!.events.filter(({ kv }) => kv.modRevision === 2)).toHaveLength(3_000);
    expect(sink.messages.filter(({ watchId }) => watchId === 0).flatMap(({ events }) => events.map(show))).toEqual([
      "2 put k/5=x",
      "3 put k/5=y",
    ]);
    expect(sink.messages.some(({ watchId }) => watchId === 2)).toBe(false);
    expect(hub.slowWatchers).toBe(0);
  });

  test("stays readable though it is compacted right after, while it is still being matched", () => {
    const { source, hub, sink, failures, watch, write, settle } = world({ source: new MemorySource(4_000) });
    watch("k/2999");
    watch("other");
    sink.take();
    write(...Array.from({ length: 3_000 }, (_, i) => ({ put: `k/${i}` })));
    expect(hub.slowWatchers).toBe(0);
    source.write({ delete: "k/", end: "k0" });
    source.store.compact(3);
    for (let i = 0; i < 50; i++) source.dropSome(1_000);
    hub.published();
    settle();
    expect(failures).toEqual([]);
    // It was too slow, and is told so: passing over revision 2 in silence would be the mistake.
    expect(sink.take()).toEqual([{ watchId: 0, revision: 0, canceled: true, compactRevision: 3 }]);
  });
});

describe("a revision that takes several turns to match", () => {
  const large = (): { put: string }[] => Array.from({ length: 7_000 }, (_, i) => ({ put: `k/${i}` }));

  test("is not told as progress before it is through (B53)", () => {
    const { sink, stream, watch, write, settle } = world();
    watch("k/6999");
    sink.take();
    write(...large());
    stream.progress();
    expect(sink.take()).toEqual([]);
    settle();
    stream.progress();
    expect(sink.take()).toEqual([
      { watchId: 0, revision: 2, events: ["2 put k/6999="] },
      { watchId: -1, revision: 2 },
    ]);
  });

  test("is not missed by a watcher that catches up meanwhile", () => {
    const { sink, watch, write, settle } = world();
    // As many as one batch holds: the next one begins with the large revision.
    for (let i = 0; i < 128; i++) write({ put: "k/0" });
    watch("elsewhere");
    write(...large());
    watch("k/0", { startRevision: 2 });
    settle();
    expect(sink.messages.filter(({ watchId }) => watchId === 1).flatMap(({ events }) => events)).toHaveLength(129);
  });
});

describe("a slow reader", () => {
  test("gets nothing while its sink is full, everything after, and holds nobody else up", () => {
    const { hub, sink, stream, watch, write, settle } = world();
    const quick = new Sink();
    hub.open(quick).create({ key: encodeUtf8("k") });
    watch("k");
    sink.take();
    quick.take();
    sink.writable = false;
    for (let i = 1; i <= 300; i++) write({ put: "k", value: String(i) });
    settle();
    expect(sink.take()).toEqual([]);
    expect(quick.messages.flatMap(({ events }) => events)).toHaveLength(300);
    expect(hub.slowWatchers).toBe(1);
    sink.writable = true;
    stream.resume();
    settle();
    expect(sink.messages.flatMap(({ events }) => events.map(show))).toEqual(
      Array.from({ length: 300 }, (_, i) => `${i + 2} put k=${i + 1}`),
    );
    expect(hub.slowWatchers).toBe(0);
  });

  test("whose sink fills with each message takes them one at a time", () => {
    const { sink, stream, watch, write, settle } = world();
    watch("k");
    sink.take();
    sink.onSend = () => {
      sink.writable = false;
    };
    for (let i = 0; i < 300; i++) write({ put: "k" });
    const counts: number[] = [];
    for (let turn = 0; turn < 5; turn++) {
      settle();
      counts.push(sink.messages.length);
      sink.writable = true;
      stream.resume();
    }
    expect(counts).toEqual([1, 2, 3, 3, 3]);
  });

  test("is canceled with the compact revision once what it needs is gone, in the middle of what it was told", () => {
    const { source, hub, sink, stream, watch, write, settle } = world();
    watch("k");
    write({ put: "k", value: "1" });
    settle();
    sink.take();
    sink.writable = false;
    for (let i = 0; i < 5; i++) write({ put: "k" });
    source.store.compact(6);
    hub.published();
    settle();
    expect(sink.take()).toEqual([]);
    sink.writable = true;
    stream.resume();
    settle();
    expect(sink.take()).toEqual([{ watchId: 0, revision: 0, canceled: true, compactRevision: 6 }]);
  });

  test("that missed nothing it watches outlives any compaction", () => {
    const { source, hub, sink, watch, write, settle } = world();
    watch("k");
    sink.take();
    for (let i = 0; i < 5; i++) write({ put: "other" });
    settle();
    source.store.compact(6);
    hub.published();
    write({ put: "k" });
    settle();
    expect(sink.take()).toEqual([{ watchId: 0, revision: 7, events: ["7 put k="] }]);
  });
});

describe("fragments", () => {
  const big = (i: number) => ({ put: `k${i}`, value: "x".repeat(400) });

  test("are cut where asked for; all but the last say so, and together they are the whole", () => {
    const { sink, watch, write, settle } = world({ fragmentBytes: 1_000 });
    watch("k", { end: "l", fragment: true });
    watch("k", { end: "l" });
    sink.take();
    write(...[1, 2, 3, 4, 5].map(big));
    settle();
    const parts = sink.messages.filter(({ watchId }) => watchId === 0);
    expect(parts.map(({ fragment, revision, events }) => [fragment, revision, events.length])).toEqual([
      [true, 2, 2],
      [true, 2, 2],
      [false, 2, 1],
    ]);
    const whole = sink.messages.filter(({ watchId }) => watchId === 1);
    expect(whole.map(({ fragment, events }) => [fragment, events.length])).toEqual([[false, 5]]);
    expect(parts.flatMap(({ events }) => events)).toEqual(whole[0]!.events);
  });

  test("an event larger than a fragment travels alone, and a single one is never cut", () => {
    const { sink, watch, write, settle } = world({ fragmentBytes: 100 });
    watch("k", { end: "l", fragment: true });
    sink.take();
    write(big(1));
    settle();
    write(big(2), big(3));
    settle();
    expect(sink.messages.map(({ fragment, events }) => [fragment, events.length])).toEqual([
      [false, 1],
      [true, 1],
      [false, 1],
    ]);
  });
});

describe("a revision that is very large", () => {
  const many = Array.from({ length: 3_000 }, (_, i) => ({ put: `k${String(i).padStart(4, "0")}` }));

  test.each([
    ["from the history", ENOUGH, "", 0],
    ["from the state", 1_000, "", 0],
    ["of a few of its keys, from the state", 1_000, "k01", 0],
    ["though it is compacted at in the middle of it", 1_000, "", 2],
  ])("is told in parts of its own, each as the reader takes it: %s", (_what, historyBytes, prefix, compactAt) => {
    const { source, sink, stream, watch, write, settle } = world({ source: new MemorySource(historyBytes) });
    const end = prefix === "" ? "l" : "k02";
    if (historyBytes === ENOUGH) watch("k", { end, fragment: true });
    write(...many);
    write({ put: "last" });
    if (historyBytes !== ENOUGH) watch(prefix === "" ? "k" : prefix, { end, fragment: true, startRevision: 2 });
    sink.take();
    sink.onSend = () => {
      sink.writable = false;
    };
    const told: string[] = [];
    const parts: [fragment: boolean, events: number, revision: number][] = [];
    for (let turn = 0; turn < 10; turn++) {
      sink.writable = true;
      stream.resume();
      settle();
      expect(sink.messages.length).toBeLessThanOrEqual(1);
      for (const { fragment, events, revision } of sink.messages) {
        parts.push([fragment, events.length, revision]);
        told.push(...events.map(({ kv }) => decodeUtf8(kv.key)));
      }
      sink.messages = [];
      if (turn === 0 && compactAt > 0) {
        source.store.compact(compactAt);
        source.dropSome(10_000);
      }
    }
    expect(told).toEqual(many.map(({ put }) => put).filter((key) => key.startsWith(prefix)));
    const stamp = historyBytes === ENOUGH ? 2 : 3;
    const sizes = prefix !== "" ? [100] : compactAt > 0 ? [1_024, 1_976] : [1_024, 1_024, 952];
    expect(parts).toEqual(sizes.map((size, i) => [i < sizes.length - 1, size, stamp]));
  });

  test.each([
    ["from the history", ENOUGH, "l"],
    ["from the state", 1_000, "l"],
    ["of one key, from the state", 1_000, undefined],
  ])("is through before the next begins, however many follow each other: %s", (_what, historyBytes, end) => {
    const { sink, watch, write, settle } = world({ source: new MemorySource(historyBytes), fragmentBytes: 1_000 });
    const key = (i: number) => (end === undefined ? "k" : `k${i}`);
    for (let i = 0; i < 20; i++) write(...[1, 2, 3].map((at) => ({ put: key(at), value: "x".repeat(150 + 10 * i) })));
    watch("k", { ...(end === undefined ? {} : { end }), fragment: true, startRevision: 2 });
    settle();
    const messages = sink.messages.filter(({ created }) => !created);
    expect(messages.some(({ fragment }) => fragment)).toBe(true);
    let kept = 0;
    for (const { fragment, events, revision } of messages) {
      for (const { kv } of events) expect(kv.modRevision).toBeLessThanOrEqual(revision);
      kept += events.length;
      // What a client keeps of parts is what came with the first one, and the rest of that revision.
      expect(kept).toBeLessThanOrEqual(7);
      if (!fragment) kept = 0;
    }
    expect(messages.flatMap(({ events }) => events)).toHaveLength(60);
  });
});

describe("progress", () => {
  test("is told on request when every watcher of the stream has seen everything", () => {
    const { sink, stream, watch, write, settle } = world();
    stream.progress();
    expect(sink.take()).toEqual([]);
    watch("k");
    watch("other");
    write({ put: "k" });
    sink.take();
    stream.progress();
    expect(sink.take()).toEqual([]);
    settle();
    stream.progress();
    expect(sink.take()).toEqual([
      { watchId: 0, revision: 2, events: ["2 put k="] },
      { watchId: -1, revision: 2 },
    ]);
    watch("k", { startRevision: 9 });
    sink.take();
    stream.progress();
    expect(sink.take()).toEqual([]);
  });

  test("is told at intervals to watchers that asked for it and had no event meanwhile", () => {
    const { sink, watch, write, settle, advance } = world({ progressIntervalMs: 1_000 });
    watch("k", { progressNotify: true });
    watch("k");
    watch("z", { progressNotify: true });
    write({ put: "k" });
    settle();
    sink.take();
    advance(1_100);
    expect(sink.take()).toEqual([{ watchId: 2, revision: 2 }]);
    advance(1_100);
    expect(sink.take()).toEqual([
      { watchId: 0, revision: 2 },
      { watchId: 2, revision: 2 },
    ]);
  });

  test("never overtakes an event (B53)", () => {
    const { sink, stream, watch, write, advance } = world({ progressIntervalMs: 1_000 });
    watch("k", { progressNotify: true });
    sink.take();
    sink.writable = false;
    write({ put: "k" });
    advance(5_000);
    stream.progress();
    sink.writable = true;
    stream.progress();
    expect(sink.take()).toEqual([]);
    stream.resume();
    advance(0);
    advance(3_000);
    const told = sink.take();
    expect(told[0]).toEqual({ watchId: 0, revision: 2, events: ["2 put k="] });
    expect(told[1]).toEqual({ watchId: 0, revision: 2 });
  });

  test("ends with the stream", () => {
    const { clock, sink, stream, watch } = world({ progressIntervalMs: 1_000 });
    watch("k", { progressNotify: true });
    sink.take();
    stream.close();
    while (clock.runNext()) {}
    expect(sink.take()).toEqual([]);
  });
});

describe("the end of a watcher", () => {
  test("by its client is confirmed, and nothing comes after it", () => {
    const { hub, sink, stream, watch, write, settle } = world();
    watch("k");
    sink.take();
    write({ put: "k" });
    stream.cancel(0);
    stream.cancel(0);
    stream.cancel(17);
    settle();
    write({ put: "k" });
    settle();
    expect(sink.take()).toEqual([{ watchId: 0, revision: 2, canceled: true }]);
    expect(hub.watchers).toBe(0);
  });

  test("in the middle of a batch lets go of what the batch held", () => {
    const before = new MemorySource(ENOUGH);
    for (let i = 0; i < 3_000; i++) before.write({ put: "k" });
    const { clock, source, sink, stream, watch, write, settle } = world({ source: new MemorySource(ENOUGH, before) });
    watch("", { end: "\0", startRevision: 1 });
    watch("k", { startRevision: 3_001 });
    clock.runNext();
    stream.cancel(0);
    settle();
    const end = sink.messages.findIndex(({ canceled }) => canceled);
    expect(sink.messages.slice(end + 1).map(({ watchId, events }) => [watchId, ...events.map(show)])).toEqual([
      [1, "3001 put k="],
    ]);
    write({ put: "k" });
    source.store.compact(source.store.revision);
    expect(source.store.droppable).toBe(source.store.revision);
  });

  test("comes with its stream's, without a word", () => {
    const { hub, sink, stream, watch, write, settle } = world();
    watch("k");
    watch("k", { end: "l", startRevision: 1 });
    write({ put: "k" });
    sink.take();
    stream.close();
    stream.close();
    watch("k");
    settle();
    expect(sink.take()).toEqual([]);
    expect([hub.watchers, hub.streams]).toEqual([0, 0]);
  });

  test("inside its own sink is safe, also while it is created", () => {
    const created = world();
    created.sink.onSend = () => created.stream.close();
    created.watch("k");
    expect(created.hub.watchers).toBe(0);

    const { hub, sink, stream, watch, write, settle } = world();
    watch("k");
    watch("k");
    sink.onSend = ({ events }) => {
      if (events.length > 0) stream.close();
    };
    write({ put: "k" });
    settle();
    expect(sink.messages.filter(({ events }) => events.length > 0)).toHaveLength(1);
    expect(hub.watchers).toBe(0);
  });
});

describe("a snapshot that replaces the state (B51)", () => {
  test("leaves each watcher where it was: what it missed comes from the new state, once and in order", () => {
    const { source, hub, sink, watch, write, settle } = world();
    watch("k");
    watch("other");
    write({ put: "k", value: "1" });
    settle();
    watch("k", { startRevision: 2 });
    sink.take();
    const newer = new MemorySource(ENOUGH, source);
    newer.write({ put: "k", value: "2" });
    newer.write({ delete: "k" });
    const installed = new MemorySource(ENOUGH, newer);
    hub.replace(installed);
    settle();
    expect(sink.take()).toEqual([
      { watchId: 0, revision: 4, events: ["3 put k=2", "4 delete k"] },
      { watchId: 2, revision: 4, events: ["2 put k=1", "3 put k=2", "4 delete k"] },
    ]);
    installed.write({ put: "k", value: "5" });
    hub.published();
    settle();
    expect(sink.take()).toEqual([
      { watchId: 0, revision: 5, events: ["5 put k=5"] },
      { watchId: 2, revision: 5, events: ["5 put k=5"] },
    ]);
  });

  test("cancels those whose next revision it has compacted, and no others", () => {
    const { source, hub, sink, watch, write, settle } = world();
    write({ put: "k" });
    watch("k", { startRevision: 9 });
    watch("k");
    sink.take();
    const newer = new MemorySource(ENOUGH, source);
    for (let i = 0; i < 5; i++) newer.write({ put: "k", value: String(i) });
    newer.store.compact(6);
    hub.replace(new MemorySource(ENOUGH, newer));
    settle();
    expect(sink.take()).toEqual([{ watchId: 1, revision: 0, canceled: true, compactRevision: 6 }]);
  });
});

function showTold({ revision, type, key, value, previous }: Told): string {
  return `${revision} ${type === "put" ? `put ${key}=${value}` : `delete ${key}`}${previous === undefined ? "" : ` was ${previous}`}`;
}

const withoutPrevious = (told: string): string => told.replace(/ was .*/, "");

// --- all at once, at random ---

interface Watched {
  readonly stream: Party;
  readonly id: number;
  readonly key: string;
  readonly end: string | undefined;
  readonly noPut: boolean;
  readonly noDelete: boolean;
  readonly start: number;
  readonly told: string[];
  lastRevision: number;
  /** In the middle of what comes in parts. */
  isPartial: boolean;
  ended: "no" | "by client" | "compacted";
}

interface Party {
  readonly sink: Sink;
  readonly stream: WatchStream;
  closed: boolean;
}

describe("watches", () => {
  test(`are ordered, unique, atomic and complete, whatever else happens (seed ${seed})`, () => {
    const total = { events: 0, compacted: 0, progress: 0, replaced: 0, fromState: 0, parts: 0 };
    for (let run = 0; run < 40; run++) runOnce(prng(seed + run), total);
    for (const [what, count] of Object.entries(total)) expect(count, what).toBeGreaterThan(30);
  });

  function runOnce(random: () => number, total: Record<string, number>): void {
    const clock = new VirtualClock();
    const historyBytes = [1_500, 6_000, ENOUGH][randomInt(random, 0, 2)]!;
    let source = new MemorySource(historyBytes);
    const failures: unknown[] = [];
    const hub = new WatchHub({
      source,
      clock,
      random: seededRandom(1),
      onFailure: (error) => failures.push(error),
      progressIntervalMs: 500,
      fragmentBytes: 300,
    });
    const watched: Watched[] = [];
    const parties: Party[] = [];
    const keys = ["a", "b", "c", "d"];
    const pick = <T>(list: readonly T[]): T => list[randomInt(random, 0, list.length - 1)]!;

    const receive = (party: Party, message: WatchMessage): void => {
      for (const one of watched) {
        if (one.stream !== party || (one.id !== message.watchId && message.watchId !== -1)) continue;
        // Progress of all is none of those that ended; and nothing else may come after the end.
        if (one.ended !== "no" && message.watchId === -1) continue;
        expect(one.ended).toBe("no");
        const { events, revision } = message;
        for (const event of events) {
          const { modRevision } = event.kv;
          expect(modRevision).toBeGreaterThanOrEqual(Math.max(one.lastRevision, one.start));
          expect(modRevision).toBeLessThanOrEqual(revision);
          one.told.push(withoutPrevious(show(event)));
        }
        // What was begun in parts goes on, or the watcher ends.
        if (one.isPartial) expect(events.length > 0 || message.canceled || !message.fragment).toBe(true);
        const wasPartial = one.isPartial;
        one.isPartial = message.fragment;
        if (message.fragment) {
          total.parts! += 1;
        } else if (events.length > 0 || (wasPartial && !message.canceled)) {
          // Atomic: the next message begins above the last revision of this one.
          if (events.length > 0) one.lastRevision = events.at(-1)!.kv.modRevision + 1;
          total.events! += events.length;
          if (revision > one.lastRevision - 1) total.fromState! += 1;
        } else if (message.canceled) {
          one.ended = message.compactRevision > 0 ? "compacted" : "by client";
          if (one.ended === "compacted") total.compacted! += 1;
        } else if (!message.created) {
          // Bookmarkable: everything up to here has been told, and nothing at or below will be.
          total.progress! += 1;
          expect(one.told).toEqual(wanted(one).filter((line) => Number(line.split(" ")[0]) <= revision));
          one.lastRevision = revision + 1;
        }
      }
    };
    const wanted = ({ start, key, end, noPut, noDelete }: Watched): string[] =>
      source
        .expected(start, key, end)
        .filter(({ type }) => !(type === "put" ? noPut : noDelete))
        .map(showTold)
        .map(withoutPrevious);
    const open = (): void => {
      const sink = new Sink();
      const party: Party = { sink, stream: hub.open(sink), closed: false };
      sink.onSend = (message) => {
        if (!message.created) receive(party, message);
        if (random() < 0.2) sink.writable = false;
      };
      parties.push(party);
    };
    const create = (party: Party): void => {
      const key = pick(keys);
      const end = pick([undefined, "\0", "d", undefined]);
      if (end === "d" && key === "d") return;
      const current = source.store.revision;
      const startRevision = random() < 0.4 ? 0 : randomInt(random, 1, current + 3);
      const [noPut, noDelete] = [random() < 0.1, random() < 0.1];
      const id = watched.length + 1;
      const start = startRevision === 0 ? current + 1 : startRevision;
      watched.push({
        stream: party,
        id,
        key,
        end,
        noPut,
        noDelete,
        start,
        told: [],
        lastRevision: 0,
        isPartial: false,
        ended: "no",
      });
      party.stream.create({
        key: encodeUtf8(key),
        ...(end === undefined ? {} : { rangeEnd: encodeUtf8(end) }),
        startRevision,
        watchId: id,
        noPut,
        noDelete,
        progressNotify: random() < 0.3,
        fragment: random() < 0.5,
      });
    };
    const write = (): void => {
      const count = random() < 0.05 ? 40 : randomInt(random, 1, 3);
      if (random() < 0.25) source.write({ delete: pick(keys), end: pick(["c", "z"]) });
      else if (count === 40) source.write(...Array.from({ length: 40 }, (_, i) => ({ put: `b${i}`, value: "x" })));
      else source.write(...keys.slice(0, count).map((key) => ({ put: key, value: String(randomInt(random, 0, 99)) })));
      hub.published();
    };

    open();
    for (let step = 0; step < 400; step++) {
      const chance = random();
      const party = pick(parties);
      if (chance < 0.35) write();
      else if (chance < 0.42) create(party);
      else if (chance < 0.44) open();
      else if (chance < 0.7) clock.runNext();
      else if (chance < 0.82) {
        party.sink.writable = true;
        party.stream.resume();
      } else if (chance < 0.85) party.sink.writable = false;
      else if (chance < 0.88 && source.store.compactRevision < source.store.revision) {
        source.store.compact(randomInt(random, Math.max(1, source.store.compactRevision + 1), source.store.revision));
      } else if (chance < 0.94) source.dropSome(randomInt(random, 1, 30));
      else if (chance < 0.97) party.stream.progress();
      else if (chance < 0.985) {
        const one = watched[randomInt(random, 0, watched.length - 1)];
        if (one?.ended === "no" && !one.stream.closed) one.stream.stream.cancel(one.id);
      } else if (chance < 0.99 && parties.length > 1) {
        party.closed = true;
        party.stream.close();
        parties.splice(parties.indexOf(party), 1);
      } else {
        const newer = new MemorySource(historyBytes, source);
        for (let i = randomInt(random, 0, 3); i > 0; i--) newer.write({ put: pick(keys), value: "snapshot" });
        source = new MemorySource(historyBytes, newer);
        hub.replace(source);
        total.replaced! += 1;
      }
    }
    for (let round = 0; round < 2_000 && hub.slowWatchers > 0; round++) {
      for (const { sink, stream } of parties) {
        sink.writable = true;
        stream.resume();
      }
      for (let turn = 0; turn < 20; turn++) clock.runNext();
    }
    expect(failures).toEqual([]);
    for (const one of watched) {
      const all = wanted(one);
      const complete = one.ended === "no" && !one.stream.closed;
      expect(one.told, `watcher ${one.id}`).toEqual(complete ? all : all.slice(0, one.told.length));
    }
    hub.stop();
    if (source.store.compactRevision < source.store.revision) source.store.compact(source.store.revision);
    expect(source.store.droppable).toBe(source.store.revision);
  }
});
