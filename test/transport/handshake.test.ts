import { createHmac } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { encodeUtf8, viewOf } from "../../src/base/bytes.ts";
import { StoreError } from "../../src/base/errors.ts";
import { clusterId, memberId } from "../../src/base/ids.ts";
import type { Random } from "../../src/platform/random.ts";
import { VirtualClock } from "../../src/testing/virtual-clock.ts";
import { Handshake, type HandshakeOptions, type Peer, type Purpose } from "../../src/transport/handshake.ts";
import { MemoryNetwork } from "../../src/transport/memory.ts";
import type { Connection } from "../../src/transport/network.ts";
import { seededRandom } from "../support/random.ts";
import { testSeed } from "../support/seed.ts";

const seed = testSeed();
const CLUSTER = clusterId(0xc1);
const A = memberId(0xa);
const B = memberId(0xb);

interface Side {
  readonly peers: Peer[];
  readonly failures: { readonly code: string; readonly text: string; readonly by: string }[];
  readonly hellos: string[];
}

type Changes = Partial<HandshakeOptions>;

/** A dials B. Each side's options may be changed; what passes on the wire is noted, and may be changed on the way. */
class Meeting {
  readonly clock = new VirtualClock();
  readonly a: Side = { peers: [], failures: [], hellos: [] };
  readonly b: Side = { peers: [], failures: [], hellos: [] };
  /** What A sent and what it got, in order. */
  readonly sent: Uint8Array[] = [];
  readonly got: Uint8Array[] = [];
  readonly afterwards: string[] = [];
  handshakeB: Handshake | undefined;
  readonly #random: Random;
  readonly #network: MemoryNetwork;
  readonly #a: Changes;
  readonly #b: Changes;

  constructor(a: Changes = {}, b: Changes = {}, random: Random = seededRandom(seed)) {
    this.#random = random;
    this.#network = new MemoryNetwork({ clock: this.clock, random: seededRandom(1) });
    this.#a = a;
    this.#b = b;
  }

  options(side: "a" | "b"): HandshakeOptions {
    const note = this[side];
    return {
      self: { id: side === "a" ? A : B, clusterId: CLUSTER, incarnation: side === "a" ? 3 : 7 },
      clock: this.clock,
      random: this.#random,
      hmac: (key, data) => new Uint8Array(createHmac("sha256", key).update(data).digest()),
      secret: undefined,
      maxFrameBytes: side === "a" ? 1_000 : 2_000,
      timeoutMs: 1_000,
      hello: () => encodeUtf8(`hello of ${side}`),
      onHello: async (_peer, bytes) => {
        note.hellos.push(new TextDecoder().decode(bytes));
      },
      admit: () => undefined,
      ...(side === "a" ? this.#a : this.#b),
    };
  }

  #events(side: Side) {
    return {
      onDone: (peer: Peer) => void side.peers.push(peer),
      onFailed: (error: StoreError, by: string) => {
        side.failures.push({ code: error.code, text: error.message, by });
      },
    };
  }

  async run(ms: number): Promise<void> {
    const end = this.clock.now() + ms;
    await new Promise((resolve) => setImmediate(resolve));
    while ((this.clock.nextTime() ?? Number.POSITIVE_INFINITY) <= end) {
      this.clock.runNext();
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.clock.advanceTo(end);
  }

  /** A raw connection from A's host to B, which shakes hands. */
  async connect(): Promise<Connection> {
    await this.#network.endpoint("b").listen({
      url: "ws://b:1",
      maxFrameBytes: 1 << 20,
      allowedOrigins: [],
      onConnection: (connection) => {
        this.handshakeB = new Handshake(connection, this.options("b"), this.#events(this.b), undefined);
      },
    });
    const dialling = this.#network.endpoint("a").dial("ws://b:1", { maxFrameBytes: 1 << 20, timeoutMs: 100 });
    await this.run(10);
    return dialling;
  }

  async meet(
    target = B,
    purpose: Purpose = "messages",
    change: (frame: Uint8Array, direction: "sent" | "got") => Uint8Array[] = (frame) => [frame],
  ): Promise<this> {
    const connection = await this.connect();
    const tapped: Connection = {
      remote: connection.remote,
      bufferedBytes: 0,
      send: (frame) => {
        this.sent.push(frame.slice());
        for (const each of change(frame.slice(), "sent")) connection.send(each);
      },
      close: (reason) => connection.close(reason),
      onFrame: () => {},
      onClose: () => {},
    };
    connection.onFrame = (frame) => {
      this.got.push(frame.slice());
      for (const each of change(frame.slice(), "got")) tapped.onFrame(each);
    };
    connection.onClose = (reason) => tapped.onClose(reason);
    new Handshake(tapped, this.options("a"), this.#events(this.a), { target, purpose });
    await this.run(2_000);
    return this;
  }
}

const failed = (code: string, by: string, text: RegExp) => [{ code, by, text: expect.stringMatching(text) as unknown }];

describe("Handshake", () => {
  test("both sides know each other, and have heeded each other's hello", async () => {
    const { a, b } = await new Meeting({ secret: "s" }, { secret: "s" }).meet();
    expect(a).toEqual({
      peers: [{ id: B, incarnation: 7, maxFrameBytes: 2_000, purpose: "messages" }],
      failures: [],
      hellos: ["hello of b"],
    });
    expect(b).toEqual({
      peers: [{ id: A, incarnation: 3, maxFrameBytes: 1_000, purpose: "messages" }],
      failures: [],
      hellos: ["hello of a"],
    });
  });

  test("a stream has no hellos", async () => {
    const { a, b } = await new Meeting().meet(B, "stream");
    expect([a.peers[0]?.purpose, b.peers[0]?.purpose]).toEqual(["stream", "stream"]);
    expect([a.hellos, b.hellos]).toEqual([[], []]);
  });

  test("golden bytes", async () => {
    let next = 0;
    const counting: Random = {
      next: () => 0,
      bytes: (length) => Uint8Array.from({ length }, () => next++),
    };
    const hmac = (): Uint8Array => new Uint8Array(32).fill(0xee);
    const { sent, got } = await new Meeting({ hmac }, { hmac }, counting).meet();
    const hex = (frames: readonly Uint8Array[]) => frames.map((frame) => Buffer.from(frame).toString("hex"));
    const head = (kind: number) => `51525450` + `0001` + `0${kind}`;
    expect(hex(sent)).toEqual([
      `${head(1)}0000${"00000000000000c1"}${"000000000000000a"}${"000000000000000b"}${"0000000000000003"}${"000003e8"}${"000102030405060708090a0b0c0d0e0f"}`,
      `${head(3)}${"ee".repeat(32)}`,
      `${head(5)}${Buffer.from("hello of a").toString("hex")}`,
      head(6),
    ]);
    expect(hex(got)).toEqual([
      `${head(2)}00${"00000000000000c1"}${"000000000000000b"}${"0000000000000007"}${"000007d0"}${"101112131415161718191a1b1c1d1e1f"}`,
      `${head(4)}${"ee".repeat(32)}${Buffer.from("hello of b").toString("hex")}`,
      head(6),
    ]);
  });

  const refusals: readonly (readonly [string, Changes, Changes, bigint, string, RegExp])[] = [
    [
      "another cluster",
      { self: { id: A, clusterId: clusterId(0xc2), incarnation: 1 } },
      {},
      B,
      "CLUSTER_MISMATCH",
      /member b is of cluster c1, not c2/,
    ],
    ["a wrong member at the address", {}, {}, 0xdn, "MEMBER_MISMATCH", /this is member b, not d/],
    [
      "its own id",
      { self: { id: B, clusterId: CLUSTER, incarnation: 1 } },
      {},
      B,
      "MEMBER_MISMATCH",
      /claims to be this very member, b/,
    ],
    ["a secret on the dialling side only", { secret: "s" }, {}, B, "UNAUTHENTICATED", /was given no cluster secret/],
    ["a secret on the accepting side only", {}, { secret: "s" }, B, "UNAUTHENTICATED", /asks for a cluster secret/],
    ["another secret", { secret: "s" }, { secret: "t" }, B, "UNAUTHENTICATED", /wrong cluster secret/],
    [
      "who is not admitted",
      {},
      { admit: () => new StoreError("MEMBER_NOT_FOUND", { message: "not yet" }) },
      B,
      "MEMBER_NOT_FOUND",
      /not yet/,
    ],
    [
      "whose hello is refused",
      {},
      { onHello: () => Promise.reject(new RangeError("malformed hello")) },
      B,
      "INVALID_REQUEST",
      /malformed hello/,
    ],
  ];
  test.each(refusals)("%s is refused, and both sides know why", async (_what, forA, forB, target, code, text) => {
    const { a, b } = await new Meeting(forA, forB).meet(memberId(target));
    expect(b.failures).toEqual(failed(code, "this side", text));
    expect(a.failures).toEqual(failed(code, "the other side", text));
    expect([...a.peers, ...b.peers]).toEqual([]);
  });

  test("the dialling side refuses too: another cluster or member, a wrong proof, no admission", async () => {
    const body = (change: (frame: Uint8Array) => void, kind: number) => (frame: Uint8Array, direction: string) => {
      if (direction === "got" && frame[6] === kind) change(frame);
      return [frame];
    };
    const cluster = await new Meeting().meet(
      B,
      "messages",
      body((frame) => viewOf(frame).setBigUint64(8, 5n), 2),
    );
    expect(cluster.a.failures).toEqual(failed("CLUSTER_MISMATCH", "this side", /not 5/));
    expect(cluster.b.failures).toEqual(failed("CLUSTER_MISMATCH", "the other side", /not 5/));
    const member = await new Meeting().meet(
      B,
      "messages",
      body((frame) => viewOf(frame).setBigUint64(16, 5n), 2),
    );
    expect(member.a.failures).toEqual(failed("MEMBER_MISMATCH", "this side", /member 5 answers, not b/));
    const proof = await new Meeting().meet(
      B,
      "messages",
      body((frame) => void (frame[9]! ^= 1), 4),
    );
    expect(proof.a.failures).toEqual(failed("UNAUTHENTICATED", "this side", /wrong/));
    const admit = (): StoreError => new StoreError("UNAVAILABLE", { message: "no" });
    const unwanted = await new Meeting({ admit }).meet();
    expect(unwanted.a.failures).toEqual(failed("UNAVAILABLE", "this side", /no/));
    expect(unwanted.b.peers).toEqual([]);
  });

  test.each(["sent", "got"])("another protocol version is refused by name (%s)", async (which) => {
    const { a, b } = await new Meeting().meet(B, "messages", (frame, direction) => {
      if (direction === which) viewOf(frame).setUint16(4, 2);
      return [frame];
    });
    const [refusing, refused] = which === "sent" ? [b, a] : [a, b];
    expect(refusing.failures).toEqual(failed("PROTOCOL_VERSION", "this side", /speaks protocol version 1, not 2/));
    expect(refused.failures).toEqual(failed("PROTOCOL_VERSION", "the other side", /version 1, not 2/));
  });

  test("whatever is changed in the first two frames, the proofs notice", async () => {
    for (const kind of [1, 2]) {
      const length = kind === 1 ? 61 : 52;
      for (let at = 7; at < length; at++) {
        const meeting = new Meeting({ secret: "s" }, { secret: "s" });
        const { a, b } = await meeting.meet(B, "messages", (frame) => {
          if (frame[6] === kind) frame[at]! ^= 1;
          return [frame];
        });
        expect([...a.peers, ...b.peers], `byte ${at} of kind ${kind}`).toEqual([]);
      }
    }
  });

  test("a proof cannot be replayed: the frames of one handshake open no other", async () => {
    const first = await new Meeting({ secret: "s" }, { secret: "s" }).meet();
    expect(first.b.peers.length).toBe(1);
    const second = new Meeting({}, { secret: "s" }, seededRandom(seed + 1));
    const connection = await second.connect();
    for (const frame of first.sent) connection.send(frame);
    await second.run(2_000);
    expect(second.b.failures).toEqual(failed("UNAUTHENTICATED", "this side", /wrong/));
    expect(second.b.hellos).toEqual([]);
  });

  test("a proof cannot be reflected: who sends back what it gets learns and proves nothing", async () => {
    // The attacker answers A's dial as B, with A's own proof in the welcome.
    let proof: Uint8Array | undefined;
    const reflected = await new Meeting({ secret: "s" }, { secret: "s" }).meet(B, "messages", (frame, direction) => {
      if (direction === "sent" && frame[6] === 3) proof = frame.slice();
      if (direction === "got" && frame[6] === 4) frame.set(proof!.subarray(7), 7);
      return [frame];
    });
    expect(reflected.a.failures).toEqual(failed("UNAUTHENTICATED", "this side", /wrong/));
  });

  test("a stranger gets no proof to guess the secret from", async () => {
    const meeting = new Meeting({ secret: "wrong" }, { secret: "s" });
    await meeting.meet();
    expect(meeting.got.map((frame) => frame[6])).toEqual([2]);
  });

  test("takes no longer than its time, on either side, wherever the other falls silent", async () => {
    for (const kind of [1, 2, 3, 4, 5]) {
      const { a, b } = await new Meeting().meet(B, "messages", (frame) => (frame[6]! >= kind ? [] : [frame]));
      expect([...a.peers, ...b.peers]).toEqual([]);
      for (const { failures } of [a, b])
        expect(failures).toEqual(failed("TIMEOUT", expect.any(String) as never, /1000 ms/));
    }
    const silent = new Meeting();
    const connection = await silent.connect();
    let reason = "";
    connection.onClose = (text) => {
      reason = text;
    };
    await silent.run(1_100);
    expect(reason).toBe("TIMEOUT: no handshake within 1000 ms");
  });

  test("neither side is done before both have heeded the hello", async () => {
    for (const slow of ["a", "b"] as const) {
      let release = (): void => {};
      const onHello = (): Promise<void> =>
        new Promise((resolve) => {
          release = resolve;
        });
      const meeting = new Meeting(slow === "a" ? { onHello } : {}, slow === "b" ? { onHello } : {});
      let before = -1;
      meeting.clock.after(500, () => {
        before = meeting.a.peers.length + meeting.b.peers.length;
        release();
      });
      await meeting.meet();
      expect(before).toBe(0);
      expect([meeting.a.peers.length, meeting.b.peers.length]).toEqual([1, 1]);
    }
  });

  test("a connection that ends while the hello is heeded is not done afterwards", async () => {
    let release = (): void => {};
    const onHello = (): Promise<void> =>
      new Promise((resolve) => {
        release = resolve;
      });
    const meeting = new Meeting({}, { onHello });
    await meeting.meet();
    expect(meeting.b.failures).toEqual(failed("TIMEOUT", expect.any(String) as never, /./));
    release();
    await meeting.run(100);
    expect(meeting.b.peers).toEqual([]);
  });

  test("frames that a network repeats do no harm", async () => {
    const { a, b } = await new Meeting({ secret: "s" }, { secret: "s" }).meet(B, "messages", (frame) => [
      frame,
      frame.slice(),
    ]);
    expect([a.peers.length, b.peers.length]).toEqual([1, 1]);
    expect([a.hellos.length, b.hellos.length]).toEqual([1, 1]);
  });

  test("before the proof, a frame above 256 bytes is refused; after it, one above 64 KiB", async () => {
    const meeting = new Meeting();
    const connection = await meeting.connect();
    connection.send(new Uint8Array(257));
    await meeting.run(100);
    expect(meeting.b.failures).toEqual(failed("INVALID_REQUEST", "this side", /frame too large/));
    const big = await new Meeting({ hello: () => new Uint8Array(64 << 10) }).meet();
    expect(big.b.failures).toEqual(failed("INVALID_REQUEST", "this side", /frame too large/));
    const fits = await new Meeting({ hello: () => new Uint8Array(60 << 10) }).meet();
    expect(fits.b.peers.length).toBe(1);
  });

  test(`any frames at any step end the handshake or leave it waiting (seed ${seed})`, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: 3 }),
        fc.array(
          fc.oneof(
            fc.uint8Array({ maxLength: 100 }),
            fc
              .tuple(fc.integer({ min: 0, max: 8 }), fc.uint8Array({ maxLength: 70 }))
              .map(([kind, body]) => Uint8Array.from([0x51, 0x52, 0x54, 0x50, 0, 1, kind, ...body])),
          ),
          { maxLength: 4 },
        ),
        async (after, frames) => {
          const meeting = new Meeting({ secret: "s" }, { secret: "s" });
          let count = 0;
          await meeting.meet(B, "messages", (frame, direction) => {
            if (direction === "got" || count++ < after) return [frame];
            return count === after + 1 ? frames : [];
          });
          // Before its proof A is replaced by noise: nobody gets in. After it, it may say what A may say.
          if (after < 2) expect(meeting.b.peers).toEqual([]);
          expect(meeting.b.peers.length + meeting.b.failures.length).toBe(1);
        },
      ),
      { seed, numRuns: 150 },
    );
  });
});
