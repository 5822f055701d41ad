import { createHmac } from "node:crypto";
import { afterEach, describe, expect, test } from "vitest";
import { clusterId, type MemberId, memberId } from "../../src/base/ids.ts";
import { randomInt } from "../../src/base/prng.ts";
import type { Logger } from "../../src/platform/log.ts";
import { NodeClock } from "../../src/platform/node/clock.ts";
import { NodeRandom } from "../../src/platform/node/random.ts";
import { type Host, SimulatedWorld } from "../../src/testing/world.ts";
import { Handshake } from "../../src/transport/handshake.ts";
import type { Connection, Network } from "../../src/transport/network.ts";
import { WebSocketNetwork } from "../../src/transport/node/websocket.ts";
import { PeerMesh, type PeerMeshOptions } from "../../src/transport/peers.ts";
import { testSeed } from "../support/seed.ts";

const seed = testSeed();
const CLUSTER = clusterId(0xc1);

/** One member: its mesh and all that it told its host. */
class Member {
  readonly name: string;
  readonly id: MemberId;
  readonly mesh: PeerMesh;
  readonly received: string[] = [];
  readonly events: string[] = [];
  readonly logs: string[] = [];
  readonly roundTrips: number[] = [];
  readonly streams: Connection[] = [];
  bursts = 0;
  /** Addresses dialled, and frames that left on any connection. */
  readonly dials: string[] = [];
  readonly frames: Uint8Array[] = [];

  constructor(
    world: {
      network: Network;
      clock: PeerMeshOptions["clock"];
      random: PeerMeshOptions["random"];
      hmac: PeerMeshOptions["hmac"];
    },
    name: string,
    options: Partial<PeerMeshOptions> = {},
  ) {
    this.name = name;
    this.id = idOf(name);
    const note =
      (level: string) =>
      (fields: object, message: string): void => {
        const { code = "", reason = "" } = fields as { code?: string; reason?: string };
        this.logs.push(`${level} ${message} ${code} ${reason}`);
      };
    const log: Logger = { debug: note("debug"), info: note("info"), warn: note("warn"), error: note("error") };
    this.mesh = new PeerMesh({
      ...world,
      network: this.#watched(world.network),
      log,
      self: { id: this.id, clusterId: CLUSTER, incarnation: 1 },
      listenUrl: urlOf(name),
      allowedOrigins: [],
      maxFrameBytes: 8 << 20,
      hello: () => new TextEncoder().encode(name),
      onHello: async (peer, bytes) => void this.events.push(`hello ${nameOf(peer)} ${new TextDecoder().decode(bytes)}`),
      onMessage: (from, bytes) => void this.received.push(`${nameOf(from)}:${new TextDecoder().decode(bytes)}`),
      onBurst: () => void this.bursts++,
      onUp: (peer) => void this.events.push(`up ${nameOf(peer)}`),
      onDown: (peer, reason) => void this.events.push(`down ${nameOf(peer)} ${reason}`),
      onRoundTrip: (_peer, ms) => void this.roundTrips.push(ms),
      onStream: (_from, connection) => void this.streams.push(connection),
      ...options,
    });
  }

  #watched(network: Network): Network {
    return {
      listen: (options) => network.listen(options),
      dial: async (url, options) => {
        this.dials.push(url);
        const connection = await network.dial(url, options);
        const send = connection.send.bind(connection);
        connection.send = (frame) => {
          this.frames.push(frame);
          send(frame);
        };
        return connection;
      },
    };
  }

  say(to: Member, text: string, control = false): boolean {
    return this.mesh.send(to.id, new TextEncoder().encode(text), control);
  }

  ups(of: Member): number {
    return this.events.filter((event) => event === `up ${of.name}`).length;
  }

  logged(code: string): string[] {
    return this.logs.filter((line) => line.startsWith("warn") && line.includes(code));
  }
}

/** Names are "m1" to "m9": the number is the id. */
const idOf = (name: string): MemberId => memberId(Number(name.slice(1)));
const nameOf = (id: MemberId): string => `m${id}`;
const urlOf = (name: string): string => `ws://${name}:7401`;
const listOf = (...members: { readonly id: MemberId; readonly name: string }[]) =>
  members.map(({ id, name }) => ({ id, urls: [urlOf(name)] }));

/** Members in a simulated world. */
class Town {
  readonly world: SimulatedWorld;

  constructor(worldSeed = 1) {
    this.world = new SimulatedWorld({ seed: worldSeed });
  }

  host(name: string): Host {
    return this.world.host(name);
  }

  async start(name: string, options: Partial<PeerMeshOptions> = {}): Promise<Member> {
    const member = new Member(this.host(name).boot(), name, options);
    await this.world.settle(member.mesh.listen());
    return member;
  }

  /** Two members that know each other. */
  async two(
    forFirst: Partial<PeerMeshOptions> = {},
    forSecond: Partial<PeerMeshOptions> = {},
  ): Promise<{ one: Member; two: Member }> {
    const one = await this.start("m1", forFirst);
    const two = await this.start("m2", forSecond);
    two.mesh.setPeers(listOf(one));
    one.mesh.setPeers(listOf(two));
    return { one, two };
  }

  async connected(forFirst: Partial<PeerMeshOptions> = {}, forSecond: Partial<PeerMeshOptions> = {}) {
    const both = await this.two(forFirst, forSecond);
    expect(await this.together(both.one, both.two)).toBe(true);
    return both;
  }

  together(one: Member, two: Member, withinMs = 10_000): Promise<boolean> {
    return this.world.until(() => one.mesh.connected(two.id) && two.mesh.connected(one.id), withinMs);
  }

  cut(one: Member, two: Member): void {
    this.world.network.cut(one.name, two.name);
    this.world.network.cut(two.name, one.name);
  }

  heal(one: Member, two: Member): void {
    this.world.network.heal(one.name, two.name);
    this.world.network.heal(two.name, one.name);
  }

  run(ms: number): Promise<void> {
    return this.world.runFor(ms);
  }
}

describe("PeerMesh: connecting", () => {
  test("two members find each other, hear each other's hello, and talk", async () => {
    const town = new Town();
    const { one, two } = await town.connected({ secret: "s" }, { secret: "s" });
    expect(one.events).toEqual(["hello m2 m2", "up m2"]);
    expect(two.events).toEqual(["hello m1 m1", "up m1"]);
    expect(one.say(two, "a")).toBe(true);
    expect(two.say(one, "b")).toBe(true);
    one.mesh.flush();
    two.mesh.flush();
    await town.run(20);
    expect(two.received).toEqual(["m1:a"]);
    expect(one.received).toEqual(["m2:b"]);
    expect(one.mesh.connectedSince(two.id)).toBeGreaterThan(0);
    expect(one.mesh.connectedSince(idOf("m9"))).toBeUndefined();
  });

  test("the member with the smaller id dials, and nobody else", async () => {
    const town = new Town();
    const { one, two } = await town.connected();
    await town.run(30_000);
    expect(one.dials).toEqual([urlOf("m2")]);
    expect(two.dials).toEqual([]);
    expect([one.ups(two), two.ups(one)]).toEqual([1, 1]);
  });

  test("both dial at once on a slow start: one connection stays, and nobody is warned", async () => {
    const town = new Town();
    for (const [from, to] of [
      ["m1", "m2"],
      ["m2", "m1"],
    ] as const) {
      town.world.network.delay(from, to, 40);
    }
    const { one, two } = await town.connected();
    await town.run(5_000);
    expect(two.dials.length).toBeGreaterThan(0);
    expect([one.ups(two), two.ups(one)]).toEqual([1, 1]);
    expect([...one.logs, ...two.logs].filter((line) => line.startsWith("warn"))).toEqual([]);
  });

  test("whoever starts first: the other is found within about a second of its start", async () => {
    for (const [first, second] of [
      ["m1", "m2"],
      ["m2", "m1"],
    ] as const) {
      const town = new Town();
      const early = await town.start(first);
      early.mesh.setPeers([{ id: idOf(second), urls: [urlOf(second)] }]);
      await town.run(20_000);
      const late = await town.start(second);
      late.mesh.setPeers(listOf(early));
      expect(await town.together(early, late, 1_200)).toBe(true);
    }
  });

  test.each([
    ["no address", []],
    ["a wrong address", ["ws://nowhere:1"]],
    ["a broken address", ["nonsense"]],
  ])("the larger id dials where the smaller knows %s", async (_what, urls) => {
    const town = new Town();
    const one = await town.start("m1");
    const two = await town.start("m2");
    one.mesh.setPeers([{ id: two.id, urls }]);
    two.mesh.setPeers(listOf(one));
    // At once: whoever starts does not wait to be found.
    expect(await town.together(one, two, 200)).toBe(true);
    expect(two.dials).toEqual([urlOf("m1")]);
    await town.run(20_000);
    expect([one.ups(two), two.ups(one)]).toEqual([1, 1]);
  });

  test("further addresses are tried in turn; a wrong member at one of them is named", async () => {
    const town = new Town();
    const one = await town.start("m1");
    const two = await town.start("m2");
    const three = await town.start("m3");
    two.mesh.setPeers(listOf(one));
    one.mesh.setPeers([{ id: two.id, urls: [urlOf("m3"), urlOf("m2")] }]);
    expect(await town.together(one, two)).toBe(true);
    expect(one.logged("MEMBER_MISMATCH")[0]).toContain("this is member 3, not 2");
    expect(three.logged("MEMBER_MISMATCH")[0]).toContain("this is member 3, not 2");
  });

  test("new addresses are used at once", async () => {
    const town = new Town();
    const one = await town.start("m1");
    const two = await town.start("m2");
    two.mesh.setPeers(listOf(one));
    one.mesh.setPeers([{ id: two.id, urls: ["ws://nowhere:1"] }]);
    await town.run(2_000);
    one.mesh.setPeers(listOf(two));
    expect(await town.together(one, two, 100)).toBe(true);
  });

  test("a connection is up only once both sides have heeded the other's hello", async () => {
    const town = new Town();
    let release = (): void => {};
    const { one, two } = await town.two(
      {},
      {
        onHello: () =>
          new Promise((resolve) => {
            release = resolve;
          }),
      },
    );
    await town.run(1_000);
    expect([one.mesh.connected(two.id), two.mesh.connected(one.id)]).toEqual([false, false]);
    expect(one.say(two, "early")).toBe(false);
    release();
    expect(await town.together(one, two, 100)).toBe(true);
    await town.run(100);
    expect(two.received).toEqual([]);
  });

  test("a refused hello is tried again, and both logs say why", async () => {
    const town = new Town();
    let refused = 0;
    const { one, two } = await town.two(
      {},
      {
        onHello: async () => {
          if (refused++ < 2) throw new RangeError("malformed hello");
        },
      },
    );
    expect(await town.together(one, two)).toBe(true);
    expect(one.logged("malformed hello").length).toBe(1);
    expect(two.logged("malformed hello").length).toBe(1);
  });

  const refusals: readonly (readonly [string, Partial<PeerMeshOptions>, Partial<PeerMeshOptions>, string])[] = [
    [
      "another cluster",
      { self: { id: idOf("m1"), clusterId: clusterId(0xc2), incarnation: 1 } },
      {},
      "CLUSTER_MISMATCH member 2 is of cluster c1, not c2",
    ],
    ["no secret where one is asked for", {}, { secret: "s" }, "UNAUTHENTICATED this member asks for a cluster secret"],
    ["a secret where none is", { secret: "s" }, {}, "UNAUTHENTICATED this member was given no cluster secret"],
    ["another secret", { secret: "s" }, { secret: "t" }, "UNAUTHENTICATED wrong cluster secret"],
  ];
  test.each(refusals)("%s: never connected, said once in both logs, tried again at ease", async (_what, a, b, text) => {
    const town = new Town();
    const { one, two } = await town.two(a, b);
    await town.run(9_000);
    expect([...one.events, ...two.events]).toEqual([]);
    // Once as the one who dials, and at most once as the one who is dialled.
    for (const { length } of [one.logged(text), two.logged(text)]) expect([1, 2]).toContain(length);
    expect(one.dials.length).toBeGreaterThan(5);
    expect(one.dials.length).toBeLessThan(30);
  });

  test("an empty secret is BAD_CONFIG", async () => {
    expect(() => new Member(new Town().host("m1").boot(), "m1", { secret: "" })).toThrow(/secret is empty/);
  });

  test("a member that is not known yet is refused, and let in once it is", async () => {
    const town = new Town();
    const one = await town.start("m1");
    const two = await town.start("m2");
    one.mesh.setPeers(listOf(two));
    await town.run(3_000);
    expect(one.logged("MEMBER_NOT_FOUND")[0]).toContain("member 1 is not known to 2 (not yet added, or removed)");
    expect(one.mesh.connected(two.id)).toBe(false);
    two.mesh.setPeers(listOf(one));
    expect(await town.together(one, two, 1_200)).toBe(true);
  });

  test("a removed member is told what was queued for it, then disconnected, and stays out", async () => {
    const town = new Town();
    const { one, two } = await town.connected();
    one.say(two, "you were removed");
    one.mesh.setPeers([]);
    expect(one.mesh.connected(two.id)).toBe(false);
    await town.run(10_000);
    expect(two.received).toEqual(["m1:you were removed"]);
    expect(two.events.at(-1)).toMatch(/^down m1 MEMBER_REMOVED: /);
    expect([one.ups(two), two.ups(one)]).toEqual([1, 1]);
    await expect(town.world.settle(one.mesh.openStream(two.id))).rejects.toMatchObject({ code: "UNAVAILABLE" });
    await expect(town.world.settle(two.mesh.openStream(one.id))).rejects.toMatchObject({ code: "MEMBER_NOT_FOUND" });
  });

  test("a member that was removed while it was away is told so by a peer that has proved itself, and by nobody else", async () => {
    const told: string[] = [];
    const options = (by: string): Partial<PeerMeshOptions> => ({
      onRemoved: (peer) => told.push(`${nameOf(peer)} ${by}`),
    });
    for (const [first, second] of [
      ["m1", "m2"],
      ["m2", "m1"],
    ] as const) {
      told.length = 0;
      const town = new Town();
      const away = await town.start(first, { secret: "s", ...options("told") });
      const other = await town.start(second, { secret: "s", isRemoved: (id) => id === away.id });
      other.mesh.setPeers([]);
      away.mesh.setPeers(listOf(other));
      await town.run(10_000);
      expect(told).toContain(`${second} told`);
      expect(away.ups(other)).toBe(0);
      expect(away.logged("MEMBER_REMOVED")[0]).toContain(`member ${away.id} was removed from the cluster`);
    }

    // Somebody else at its address, who knows no secret but knows the word.
    told.length = 0;
    const town = new Town();
    const member = await town.start("m1", { secret: "s", ...options("fooled") });
    await town.world.settle(
      town
        .host("m2")
        .boot()
        .network.listen({
          url: urlOf("m2"),
          maxFrameBytes: 1 << 20,
          untrustedBytes: 1 << 20,
          allowedOrigins: [],
          onConnection: (connection) => {
            connection.onFrame = () => connection.close("MEMBER_REMOVED: believe me");
          },
        }),
    );
    member.mesh.setPeers(listOf({ id: idOf("m2"), name: "m2" }));
    await town.run(10_000);
    expect(member.logged("MEMBER_REMOVED")[0]).toContain("believe me");
    expect(told).toEqual([]);
  });

  test("a taken address is ADDRESS_IN_USE, none at all BAD_CONFIG", async () => {
    const town = new Town();
    await town.start("m1");
    const again = new Member(town.host("m2").boot(), "m2", { listenUrl: urlOf("m1") });
    await expect(town.world.settle(again.mesh.listen())).rejects.toMatchObject({ code: "ADDRESS_IN_USE" });
    const bad = new Member(town.host("m3").boot(), "m3", { listenUrl: "nonsense" });
    await expect(town.world.settle(bad.mesh.listen())).rejects.toMatchObject({ code: "BAD_CONFIG" });
  });
});

describe("PeerMesh: messages", () => {
  test("one flush is one frame: control first, then bulk, each in order; one burst", async () => {
    const town = new Town();
    const { one, two } = await town.connected();
    one.frames.length = 0;
    for (const text of ["b1", "b2"]) one.say(two, text);
    for (const text of ["c1", "c2"]) one.say(two, text, true);
    one.say(two, "b3");
    expect(one.frames.length).toBe(0);
    one.mesh.flush();
    one.mesh.flush();
    expect(one.frames.length).toBe(1);
    const bursts = two.bursts;
    await town.run(10);
    expect(two.received).toEqual(["m1:c1", "m1:c2", "m1:b1", "m1:b2", "m1:b3"]);
    expect(two.bursts).toBe(bursts + 1);
  });

  test("unknown, unconnected, empty or too large: false, and nothing is sent", async () => {
    const town = new Town();
    const { one, two } = await town.connected({}, { maxFrameBytes: 1_000 });
    expect(one.mesh.send(idOf("m9"), Uint8Array.of(1), true)).toBe(false);
    expect(one.mesh.send(two.id, new Uint8Array(0), true)).toBe(false);
    expect(one.mesh.send(two.id, new Uint8Array(985), true)).toBe(false);
    expect(one.mesh.send(two.id, new Uint8Array(984), true)).toBe(true);
    one.mesh.flush();
    await town.run(10);
    expect(two.received.map((line) => line.length)).toEqual([3 + 984]);
    town.world.network.crash("m2");
    await town.run(10);
    expect(one.say(two, "x")).toBe(false);
  });

  test("what is more than the other side's largest frame leaves in several", async () => {
    const town = new Town();
    const { one, two } = await town.connected({}, { maxFrameBytes: 1_000 });
    const texts = Array.from({ length: 40 }, (_, i) => String(i).padEnd(90, "."));
    for (const text of texts) expect(one.say(two, text)).toBe(true);
    one.frames.length = 0;
    one.mesh.flush();
    expect(one.frames.every((frame) => frame.length <= 1_000)).toBe(true);
    expect(one.frames.length).toBe(4);
    await town.run(10);
    expect(two.received).toEqual(texts.map((text) => `m1:${text}`));
    expect(one.mesh.connected(two.id)).toBe(true);
  });

  test("bulk waits up to 1 MiB, soft by one message; control passes beyond it, up to a bound of its own", async () => {
    const town = new Town();
    const { one, two } = await town.connected();
    town.world.network.cut("m1", "m2");
    const fill = (control: boolean): number => {
      let sent = 0;
      for (let i = 0; i < 1_000; i++) {
        if (!one.mesh.send(two.id, new Uint8Array(50_000), control)) break;
        sent += 50_000;
        if (i % 3 === 0) one.mesh.flush();
      }
      return sent;
    };
    const bulk = fill(false);
    expect(bulk).toBeGreaterThanOrEqual((1 << 20) - 50_000);
    expect(bulk).toBeLessThanOrEqual((1 << 20) + 50_000);
    const control = fill(true);
    expect(bulk + control).toBeGreaterThanOrEqual((4 << 20) - 50_000);
    expect(bulk + control).toBeLessThanOrEqual((4 << 20) + 50_000);
    expect(one.say(two, "x")).toBe(false);
    town.world.network.heal("m1", "m2");
    await town.run(100);
    expect(one.say(two, "x")).toBe(true);
    one.mesh.flush();
    await town.run(100);
    expect(two.received.length).toBe((bulk + control) / 50_000 + 1);
  });

  test("what was queued for a connection that ended is not sent over the next", async () => {
    const town = new Town();
    const { one, two } = await town.connected();
    expect(one.say(two, "old")).toBe(true);
    town.cut(one, two);
    await town.run(4_000);
    expect(one.mesh.connected(two.id)).toBe(false);
    town.heal(one, two);
    expect(await town.together(one, two)).toBe(true);
    one.mesh.flush();
    one.say(two, "new");
    one.mesh.flush();
    await town.run(100);
    expect(two.received).toEqual(["m1:new"]);
  });
});

describe("PeerMesh: connections that end", () => {
  test("a killed member is seen to be gone at once, and a newer run is connected anew", async () => {
    const town = new Town();
    const { one, two } = await town.connected();
    town.host("m2").kill("stays");
    await town.run(20);
    expect(one.mesh.connected(two.id)).toBe(false);
    expect(one.events.at(-1)).toBe("down m2 connection lost: the other side died");
    await town.run(5_000);
    const again = await town.start("m2", { self: { id: two.id, clusterId: CLUSTER, incarnation: 2 } });
    again.mesh.setPeers(listOf(one));
    expect(await town.together(one, again, 1_200)).toBe(true);
  });

  test("attempts come with growing pauses, never more than a quarter of a second, and not in step", async () => {
    const town = new Town(seed);
    const one = await town.start("m1");
    const other = await town.start("m2");
    const gone = [{ id: idOf("m9"), urls: [urlOf("m9")] }];
    const times: number[] = [];
    const otherTimes: number[] = [];
    one.mesh.setPeers(gone);
    other.mesh.setPeers(gone);
    for (let i = 0; i < 2_000; i++) {
      await town.run(5);
      if (one.dials.length > times.length) times.push(town.world.clock.now());
      if (other.dials.length > otherTimes.length) otherTimes.push(town.world.clock.now());
    }
    const pauses = times.slice(1).map((time, i) => time - times[i]!);
    expect(pauses[0]).toBeLessThan(120);
    expect(Math.max(...pauses)).toBeLessThanOrEqual(260);
    expect(pauses.at(-1)).toBeGreaterThan(110);
    expect(times.length).toBeLessThan(80);
    expect(times).not.toEqual(otherTimes);
  });

  test("after a connection that lived the next attempt comes at once", async () => {
    const town = new Town();
    const { one, two } = await town.connected();
    await town.run(10_000);
    const before = one.dials.length;
    town.world.network.crash("m2");
    await town.run(110);
    expect(one.dials.length).toBeGreaterThan(before);
    expect(two.ups(one)).toBe(1);
  });

  test.each(["both ways", "one way", "the other way"])(
    "a network gone silent (%s) is noticed within three beats",
    async (how) => {
      const town = new Town();
      const { one, two } = await town.connected();
      await town.run(10_000);
      if (how !== "the other way") town.world.network.cut("m1", "m2");
      if (how !== "one way") town.world.network.cut("m2", "m1");
      const deaf = how === "one way" ? two : one;
      await town.run(1_900);
      expect(deaf.mesh.connected(deaf === one ? two.id : one.id)).toBe(true);
      await town.run(1_200);
      expect(deaf.events.at(-1)).toMatch(/^down m\d no word for 3000 ms$/);
      town.heal(one, two);
      expect(await town.together(one, two, 2_500)).toBe(true);
      await town.run(10_000);
      expect(one.mesh.connected(two.id) && two.mesh.connected(one.id)).toBe(true);
    },
  );

  test("messages count as a sign of life, and their lack as none: idle members stay connected", async () => {
    const town = new Town();
    const { one, two } = await town.connected();
    await town.run(60_000);
    expect([one.ups(two), two.ups(one)]).toEqual([1, 1]);
    expect(one.events.some((event) => event.startsWith("down"))).toBe(false);
  });

  test("a short pause of a whole process costs no connection", async () => {
    const town = new Town();
    const { one, two } = await town.connected();
    town.host("m2").pause();
    await town.run(1_800);
    town.host("m2").resume();
    await town.run(10_000);
    expect([one.ups(two), two.ups(one)]).toEqual([1, 1]);
  });

  test("round trips are measured", async () => {
    const town = new Town();
    const { one, two } = await town.connected();
    town.world.network.delay("m1", "m2", 100);
    await town.run(5_000);
    expect(one.roundTrips.length).toBeGreaterThanOrEqual(4);
    expect(one.roundTrips.every((ms) => ms > 100 && ms < 110)).toBe(true);
    expect(two.roundTrips.length).toBeGreaterThanOrEqual(3);
  });

  test("a newer run replaces the old connection, whose late frames are never delivered", async () => {
    const town = new Town();
    const { one, two } = await town.connected();
    // What the first run sends is held back by the cut; it dies; its next run comes by another way.
    one.say(two, "from the first run");
    town.world.network.delay("m1", "m2", 400);
    one.mesh.flush();
    town.world.network.delay("m1", "m2", 0);
    const next = new Member({ ...hostWorld(town, "m1b"), network: town.world.network.endpoint("m1b") }, "m1", {
      self: { id: one.id, clusterId: CLUSTER, incarnation: 2 },
      listenUrl: "ws://m1b:7401",
    });
    await town.world.settle(next.mesh.listen());
    next.mesh.setPeers(listOf(two));
    expect(await town.world.until(() => next.mesh.connected(two.id), 300)).toBe(true);
    next.say(two, "from the second run");
    next.mesh.flush();
    await town.run(2_000);
    expect(two.received).toEqual(["m1:from the second run"]);
    expect(two.events).toEqual([
      "hello m1 m1",
      "up m1",
      "hello m1 m1",
      "down m1 replaced by a newer connection",
      "up m1",
    ]);
    // The old run is kept out while the newer one is connected.
    expect(one.mesh.connected(two.id)).toBe(false);
    expect(two.logged("a later run of 1 is connected").length).toBe(1);
  });

  test("close ends every connection with a word, takes no more, and calls nobody afterwards", async () => {
    const town = new Town();
    const { one, two } = await town.connected();
    await town.world.settle(two.mesh.openStream(one.id));
    const { events } = one;
    const before = events.length;
    await town.world.settle(Promise.all([one.mesh.close(), one.mesh.close()]));
    await town.run(100);
    expect(events.length).toBe(before);
    expect(two.events.at(-1)).toBe("down m1 STOPPED: this member closes");
    expect(one.say(two, "x")).toBe(false);
    one.mesh.flush();
    one.mesh.setPeers(listOf(two));
    await town.run(10_000);
    expect(one.dials.length).toBe(1);
    expect([one.ups(two), two.ups(one)]).toEqual([1, 1]);
    await expect(town.world.settle(one.mesh.openStream(two.id))).rejects.toMatchObject({ code: "UNAVAILABLE" });
  });

  test("closing while it dials and shakes hands leaves nothing behind", async () => {
    for (let ms = 0; ms < 15; ms++) {
      const town = new Town(ms + 1);
      const { one, two } = await town.two();
      await town.run(ms);
      await town.world.settle(one.mesh.close());
      const ups = one.ups(two);
      await town.run(8_000);
      expect(one.ups(two)).toBe(ups);
      expect(two.mesh.connected(one.id)).toBe(false);
    }
  });
});

describe("PeerMesh: streams", () => {
  test.each(["m1", "m2"])("%s opens one: both sides speak, beside the messages", async (from) => {
    const town = new Town();
    const both = await town.connected({ secret: "s" }, { secret: "s" });
    const [opener, other] = from === "m1" ? [both.one, both.two] : [both.two, both.one];
    const heard: string[] = [];
    const stream = await town.world.settle(opener.mesh.openStream(other.id));
    stream.onFrame = (frame) => void heard.push(`opener ${frame.length}`);
    stream.onClose = (reason) => void heard.push(`opener ${reason}`);
    stream.send(new Uint8Array(64 << 10));
    await town.run(50);
    const taken = other.streams[0]!;
    taken.onFrame = (frame) => void heard.push(`other ${frame.length}`);
    taken.onClose = (reason) => void heard.push(`other ${reason}`);
    taken.send(new Uint8Array(1));
    stream.send(new Uint8Array(2));
    await town.run(50);
    taken.close("done");
    await town.run(50);
    expect(heard.sort()).toEqual(["opener 1", "opener done", "other 2", "other done"]);
    expect([opener.ups(other), other.ups(opener)]).toEqual([1, 1]);
  });

  test("handlers set at once lose no frame, on either side", async () => {
    const town = new Town();
    const heard: number[] = [];
    const { one, two } = await town.connected(
      {},
      {
        onStream: (_from, connection) => {
          connection.onFrame = (frame) => void heard.push(frame[0]!);
          connection.send(Uint8Array.of(100));
        },
      },
    );
    for (let i = 0; i < 20; i++) {
      const stream = await town.world.settle(
        one.mesh.openStream(two.id).then((connection) => {
          connection.onFrame = (frame) => void heard.push(frame[0]!);
          connection.send(Uint8Array.of(i));
          return connection;
        }),
      );
      await town.run(20);
      stream.close("done");
    }
    expect(heard.filter((n) => n === 100).length).toBe(20);
    expect(heard.filter((n) => n < 100)).toEqual(Array.from({ length: 20 }, (_, i) => i));
  });

  test("to whom cannot be reached, is not known or refuses: rejected by name", async () => {
    const town = new Town();
    const { one, two } = await town.connected();
    await expect(town.world.settle(one.mesh.openStream(idOf("m9")))).rejects.toMatchObject({ code: "UNAVAILABLE" });
    town.cut(one, two);
    await expect(town.world.settle(one.mesh.openStream(two.id))).rejects.toMatchObject({ code: "UNAVAILABLE" });
  });
});

describe("PeerMesh: strangers and damage", () => {
  /** Shakes hands as m1 and then says what it likes. */
  async function rogue(town: Town, target: Member): Promise<Connection> {
    const world = town.host("rogue").boot();
    const connection = await town.world.settle(
      world.network.dial(urlOf(target.name), { maxFrameBytes: 1 << 20, timeoutMs: 1_000 }),
    );
    const done = new Promise<void>((resolve, reject) => {
      new Handshake(
        connection,
        {
          self: { id: idOf("m1"), clusterId: CLUSTER, incarnation: 1 },
          clock: world.clock,
          random: world.random,
          hmac: world.hmac,
          secret: undefined,
          maxFrameBytes: 1 << 20,
          timeoutMs: 1_000,
          hello: () => new Uint8Array(0),
          onHello: async () => {},
          admit: () => undefined,
        },
        { onDone: () => resolve(), onFailed: reject },
        { target: target.id, purpose: "messages" },
      );
    });
    await town.world.settle(done);
    return connection;
  }

  const frames: readonly (readonly [string, Uint8Array])[] = [
    ["cut short", numbered(1, 0, 0, 0, 9, 1)],
    ["half a length", numbered(1, 0, 0)],
    ["an empty message", numbered(1, 0, 0, 0, 0)],
    ["no number", Uint8Array.of(0, 0, 0, 1, 7)],
    ["a number beyond 2^53", Uint8Array.of(0, 0, 0, 8, 255, 0, 0, 0, 0, 0, 0, 0)],
    ["nothing", new Uint8Array(0)],
    ["an own frame of no kind", Uint8Array.of(0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0)],
  ];
  test.each(frames)("a malformed frame (%s) ends that connection only, with a reason", async (_what, frame) => {
    const town = new Town();
    const two = await town.start("m2");
    const three = await town.start("m3");
    two.mesh.setPeers([{ id: idOf("m1"), urls: [] }, ...listOf(three)]);
    three.mesh.setPeers(listOf(two));
    expect(await town.together(two, three)).toBe(true);
    const connection = await rogue(town, two);
    let reason = "";
    connection.onClose = (text) => {
      reason = text;
    };
    await town.run(10);
    expect(two.mesh.connected(idOf("m1"))).toBe(true);
    connection.send(frame);
    await town.run(100);
    expect(reason).toMatch(/^INVALID_REQUEST: malformed frame: /);
    expect(two.logs.some((line) => line.includes("a peer sent a malformed frame"))).toBe(true);
    expect(two.events.at(-1)).toMatch(/^down m1 INVALID_REQUEST/);
    expect(two.mesh.connected(three.id)).toBe(true);
  });

  test("a frame that comes again is not delivered again, one that comes late is", async () => {
    const town = new Town();
    const two = await town.start("m2");
    two.mesh.setPeers([{ id: idOf("m1"), urls: [] }]);
    const connection = await rogue(town, two);
    await town.run(10);
    for (const number of [1, 1, 3, 2, 3, 2, 4, 0]) connection.send(numbered(number, 0, 0, 0, 1, 64 + number));
    await town.run(50);
    expect(two.received).toEqual(["m1:A", "m1:C", "m1:B", "m1:D"]);
    expect(two.mesh.connected(idOf("m1"))).toBe(true);
  });

  test("over a network that repeats everything, each message arrives once", async () => {
    const town = new Town();
    town.world.network.duplicate("m1", "m2", 1);
    town.world.network.duplicate("m2", "m1", 1);
    const { one, two } = await town.connected();
    for (let i = 0; i < 100; i++) {
      one.say(two, `${i}`, i % 2 === 0);
      one.mesh.flush();
      await town.run(5);
    }
    await town.run(1_000);
    expect(two.received).toEqual(Array.from({ length: 100 }, (_, i) => `m1:${i}`));
  });

  test("messages before the damage are delivered, and looked at", async () => {
    const town = new Town();
    const two = await town.start("m2");
    two.mesh.setPeers([{ id: idOf("m1"), urls: [] }]);
    const connection = await rogue(town, two);
    await town.run(10);
    connection.send(numbered(1, 0, 0, 0, 1, 65, 0, 0, 0, 5));
    await town.run(10);
    expect(two.received).toEqual(["m1:A"]);
    expect(two.bursts).toBe(1);
  });

  test("a host that throws at a message loses that connection, not the loop", async () => {
    const town = new Town();
    const { one, two } = await town.connected(
      {},
      {
        onMessage: () => {
          throw new Error("cannot read this");
        },
      },
    );
    one.say(two, "x");
    one.mesh.flush();
    await town.run(20);
    expect(one.events.at(-1)).toMatch(/^down m2 INVALID_REQUEST: malformed frame: cannot read this/);
    expect(await town.together(one, two)).toBe(true);
  });

  test("a pong that answers no ping tells no time", async () => {
    const town = new Town();
    const two = await town.start("m2");
    two.mesh.setPeers([{ id: idOf("m1"), urls: [] }]);
    const connection = await rogue(town, two);
    await town.run(10);
    for (const at of [-1, 1e300, Number.NaN, Number.POSITIVE_INFINITY, 0]) {
      const pong = new Uint8Array(13);
      pong[4] = 2;
      new DataView(pong.buffer).setFloat64(5, at);
      connection.send(pong);
    }
    await town.run(50);
    expect(two.roundTrips).toEqual([]);
    expect(two.mesh.connected(idOf("m1"))).toBe(true);
  });

  test("silent strangers, however many, keep no member out and are sent away", async () => {
    const town = new Town();
    const two = await town.start("m2");
    const world = town.host("crowd").boot();
    const reasons: string[] = [];
    for (let i = 0; i < 100; i++) {
      const connection = await town.world.settle(
        world.network.dial(urlOf("m2"), { maxFrameBytes: 1_000, timeoutMs: 1_000 }),
      );
      connection.onClose = (reason) => void reasons.push(reason);
    }
    await town.run(10);
    expect(reasons.length).toBe(68);
    expect(reasons.every((reason) => reason === "TOO_MANY_REQUESTS: too many handshakes at once")).toBe(true);
    const one = await town.start("m1");
    two.mesh.setPeers(listOf(one));
    one.mesh.setPeers(listOf(two));
    expect(await town.together(one, two, 100)).toBe(true);
    await town.run(6_000);
    expect(reasons.length).toBe(100);
    expect(two.logged("TOO_MANY_REQUESTS").length).toBe(1);
  });

  test(`under loss, repetition, reordering, cuts and crashes nothing false arrives, and it heals (seed ${seed})`, async () => {
    for (let round = 0; round < 6; round++) {
      const town = new Town(seed + round);
      const random = town.world.random("trouble");
      const names = ["m1", "m2", "m3"];
      const members = new Map<string, Member>();
      let incarnation = 1;
      const start = async (name: string): Promise<void> => {
        const self = { id: idOf(name), clusterId: CLUSTER, incarnation: incarnation++ };
        const member = await town.start(name, { self, secret: "s" });
        member.mesh.setPeers(names.filter((n) => n !== name).map((n) => ({ id: idOf(n), urls: [urlOf(n)] })));
        members.set(name, member);
      };
      for (const name of names) await start(name);
      const said = new Set<string>();
      let count = 0;
      const talk = (): void => {
        for (const [name, member] of members) {
          for (const other of names) {
            if (other === name) continue;
            const text = `${count++}`;
            if (member.mesh.send(idOf(other), new TextEncoder().encode(text), random() < 0.5))
              said.add(`${other}<${name}:${text}`);
          }
          member.mesh.flush();
        }
      };
      for (let i = 0; i < 60; i++) {
        const from = names[randomInt(random, 0, 2)]!;
        const to = names[randomInt(random, 0, 2)]!;
        const { network } = town.world;
        const what = randomInt(random, 0, 6);
        if (what === 0) network.loss(from, to, random() * 0.5);
        else if (what === 1) network.duplicate(from, to, random() * 0.5);
        else if (what === 2) network.reorder(from, to, random() * 0.5);
        else if (what === 3) network.delay(from, to, random() * 500);
        else if (what === 4) network.cut(from, to);
        else if (what === 5) network.heal(from, to);
        else {
          town.host(from).kill("stays");
          await start(from);
        }
        talk();
        await town.run(random() * 1_000);
      }
      for (const from of names) {
        for (const to of names) {
          const { network } = town.world;
          network.heal(from, to);
          network.loss(from, to, 0);
          network.duplicate(from, to, 0);
          network.reorder(from, to, 0);
          network.delay(from, to, 0);
        }
      }
      const all = [...members.values()];
      const whole = (): boolean => all.every((m) => all.every((o) => o === m || m.mesh.connected(o.id)));
      expect(await town.world.until(whole, 12_000), `round ${round}`).toBe(true);
      await town.run(15_000);
      expect(whole()).toBe(true);
      for (const member of all) member.received.length = 0;
      talk();
      await town.run(50);
      for (const member of all) {
        expect(member.received.length).toBe(2);
        for (const line of member.received) expect(said.has(`${member.name}<${line}`)).toBe(true);
      }
    }
  });
});

/** A frame of messages as the mesh numbers them. */
function numbered(number: number, ...rest: number[]): Uint8Array {
  return Uint8Array.of(0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, number, ...rest);
}

/** All but the network of a host's world. */
function hostWorld(town: Town, name: string) {
  const { clock, random, hmac } = town.host(name).boot();
  return { clock, random, hmac };
}

describe("PeerMesh over real sockets", () => {
  const open: PeerMesh[] = [];
  afterEach(async () => {
    for (const mesh of open.splice(0)) await mesh.close();
  });

  const until = async (holds: () => boolean): Promise<void> => {
    while (!holds()) await new Promise((resolve) => setImmediate(resolve));
  };

  test("three members connect, talk and stream; strangers and garbage disturb nobody", async () => {
    const world = {
      network: new WebSocketNetwork(),
      clock: new NodeClock(),
      random: new NodeRandom(),
      hmac: (key: Uint8Array, data: Uint8Array) => new Uint8Array(createHmac("sha256", key).update(data).digest()),
    };
    const members = ["m1", "m2", "m3"].map(
      (name) => new Member(world, name, { listenUrl: "ws://127.0.0.1:0", secret: "a secret" }),
    );
    for (const { mesh } of members) open.push(mesh);
    const urls = await Promise.all(members.map(({ mesh }) => mesh.listen()));
    const list = members.map(({ id }, i) => ({ id, urls: [urls[i]!] }));
    // Only the smaller id can dial: on a slow machine two would dial each other, and what is sent on the link that has to
    // give way is lost, as it may be.
    for (const { mesh, id } of members) {
      mesh.setPeers(list.filter((peer) => peer.id !== id).map((peer) => (id < peer.id ? peer : { ...peer, urls: [] })));
    }
    await until(() => members.every((m) => members.every((o) => o === m || m.mesh.connected(o.id))));
    for (const { mesh, id } of members) mesh.setPeers(list.filter((peer) => peer.id !== id));

    const stranger = await world.network.dial(urls[0]!, { maxFrameBytes: 1_000, timeoutMs: 5_000 });
    let reason = "";
    stranger.onClose = (text) => {
      reason = text;
    };
    stranger.send(new Uint8Array(200).fill(0x51));
    await until(() => reason !== "");
    expect(reason).toMatch(/^INVALID_REQUEST: malformed handshake/);
    const flood = await world.network.dial(urls[0]!, { maxFrameBytes: 1_000, timeoutMs: 5_000 });
    let flooded = false;
    flood.onClose = () => {
      flooded = true;
    };
    flood.send(new Uint8Array(4 << 20));
    await until(() => flooded);

    const [one, two, three] = members as [Member, Member, Member];
    const big = new Uint8Array(700_000).fill(65);
    expect(one.mesh.send(three.id, big, false)).toBe(true);
    for (let i = 0; i < 100; i++) one.say(two, `${i}`, i % 2 === 0);
    one.mesh.flush();
    await until(() => two.received.length === 100 && three.received.length === 1);
    expect(three.received[0]!.length).toBe(3 + big.length);
    expect(two.received.slice(0, 2)).toEqual(["m1:0", "m1:2"]);

    // From the larger id to the smaller.
    const stream = await three.mesh.openStream(one.id);
    const heard: number[] = [];
    stream.onFrame = (frame) => void heard.push(frame.length);
    stream.send(new Uint8Array(64 << 10));
    await until(() => one.streams.length === 1);
    one.streams[0]!.send(new Uint8Array(5));
    await until(() => heard.length === 1);
    stream.close("done");
    expect(members.flatMap(({ events }) => events).filter((event) => event.startsWith("down"))).toEqual([]);
    await one.mesh.close();
    await until(() => two.events.at(-1) === "down m1 STOPPED: this member closes");
  });
});
