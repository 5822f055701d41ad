import { request as httpRequest } from "node:http";
import { createServer, type Socket, connect as tcpConnect } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { StoreError } from "../../src/base/errors.ts";
import type { Connection, HttpAnswer, Listener, ListenOptions } from "../../src/transport/network.ts";
import { WebSocketNetwork } from "../../src/transport/node/websocket.ts";
import { networkSuite } from "../conformance/network.ts";

networkSuite("WebSocketNetwork", (options) => {
  const network = new WebSocketNetwork(options);
  return { listening: network, dialling: network, url: "ws://127.0.0.1:0" };
});

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

interface Served {
  readonly listener: Listener;
  readonly port: number;
  /** What each connection heard, in the order of their coming. */
  readonly heard: { frames: Uint8Array[]; closed: string | undefined; connection: Connection }[];
}

async function serve(options: Partial<ListenOptions> = {}): Promise<Served> {
  const heard: Served["heard"] = [];
  const listener = await new WebSocketNetwork().listen({
    url: "ws://127.0.0.1:0",
    maxFrameBytes: 1 << 20,
    allowedOrigins: ["https://console.example"],
    onConnection: (connection) => {
      const ear: Served["heard"][number] = { frames: [], closed: undefined, connection };
      heard.push(ear);
      connection.onFrame = (frame) => ear.frames.push(frame.slice());
      connection.onClose = (reason) => {
        ear.closed = reason;
      };
    },
    ...options,
  });
  cleanups.push(() => listener.close());
  return { listener, heard, port: Number(new URL(listener.url).port) };
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setImmediate(resolve));
}

/** A client that is none of ours. */
async function stranger(url: string, options: ConstructorParameters<typeof WebSocket>[2] = {}): Promise<WebSocket> {
  const socket = new WebSocket(url, options);
  cleanups.push(() => socket.terminate());
  await new Promise<void>((resolve, reject) => {
    socket.once("open", () => resolve());
    socket.once("error", reject);
  });
  return socket;
}

function closeOf(socket: WebSocket): Promise<number> {
  socket.on("error", () => {});
  return new Promise((resolve) => socket.once("close", (code) => resolve(code)));
}

interface Answered {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: string;
}

function get(
  port: number,
  path: string,
  options: { method?: string; headers?: Record<string, string>; body?: string } = {},
): Promise<Answered> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      { host: "127.0.0.1", port, path, method: options.method ?? "GET", headers: options.headers ?? {}, agent: false },
      (response) => {
        let body = "";
        response.setEncoding("utf8");
        response.on("data", (chunk: string) => {
          body += chunk;
        });
        response.on("end", () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }));
      },
    );
    request.on("error", reject);
    request.end(options.body);
  });
}

const HEALTHY: HttpAnswer = { status: 200, contentType: "application/json", body: '{"health":"true"} ✓' };

describe("the door of a WebSocketNetwork", () => {
  test("a page of another origin is refused with 403, a listed one gets in, and who is no page too", async () => {
    const { listener, heard } = await serve();
    for (const origin of [
      "http://evil.example",
      "null",
      "https://console.example.evil",
      "https://console.example:444",
    ]) {
      await expect(stranger(listener.url, { origin })).rejects.toThrow(/403/);
    }
    await expect(
      stranger(listener.url, { headers: { "sec-websocket-origin": "http://evil.example" } }),
    ).rejects.toThrow(/403/);
    expect(heard).toEqual([]);
    await stranger(listener.url, { origin: "https://console.example" });
    await stranger(listener.url);
    await until(() => heard.length === 2);
  });

  test("compression is not agreed on, though the other side offers it", async () => {
    const { listener } = await serve();
    const socket = await stranger(listener.url, { perMessageDeflate: true });
    expect(socket.extensions).toBe("");
  });

  test("HTTP: GET and HEAD are answered, other methods are not, failures are 500", async () => {
    const asked: string[] = [];
    const { port } = await serve({
      onHttp: async (method, path) => {
        asked.push(`${method} ${path}`);
        if (path === "/boom") throw new Error("secret detail");
        return HEALTHY;
      },
    });
    const answer = await get(port, "/health?x=1");
    expect(answer).toMatchObject({ status: 200, body: HEALTHY.body });
    expect(answer.headers["content-type"]).toBe("application/json");
    const head = await get(port, "/health", { method: "HEAD" });
    expect(head).toMatchObject({ status: 200, body: "" });
    expect(head.headers["content-length"]).toBe(String(Buffer.byteLength(HEALTHY.body)));
    const boom = await get(port, "/boom");
    expect(boom.status).toBe(500);
    expect(boom.body).not.toContain("secret");
    for (const method of ["POST", "PUT", "DELETE", "OPTIONS"]) {
      const refused = await get(port, "/health", { method, body: method === "POST" ? "x".repeat(100_000) : "" });
      expect(refused.status).toBe(405);
      expect(refused.headers.allow).toBe("GET, HEAD");
    }
    expect(asked).toEqual(["GET /health?x=1", "GET /health", "GET /boom"]);
  });

  test("HTTP without anybody to answer is 404", async () => {
    const { port } = await serve();
    expect((await get(port, "/health")).status).toBe(404);
  });

  test("HTTP from a page of another origin, or under a name that is not this machine's, is 403", async () => {
    const { port } = await serve({ onHttp: async () => HEALTHY });
    expect((await get(port, "/health", { headers: { origin: "http://evil.example" } })).status).toBe(403);
    expect((await get(port, "/health", { headers: { origin: "https://console.example" } })).status).toBe(200);
    expect((await get(port, "/health", { headers: { host: `evil.example:${port}` } })).status).toBe(403);
    for (const host of [`localhost:${port}`, "127.0.0.1", `[::1]:${port}`]) {
      expect((await get(port, "/health", { headers: { host } })).status).toBe(200);
    }
  });

  test("an address of another machine is BAD_CONFIG, with the reason", async () => {
    const error: unknown = await serve({ url: "ws://192.0.2.1:0" }).catch((reason: unknown) => reason);
    expect(StoreError.is(error, "BAD_CONFIG")).toBe(true);
    expect(String(error)).toMatch(/EADDRNOTAVAIL/);
  });
});

describe("hostile frames on a WebSocketNetwork", () => {
  /** A well-behaved connection beside the hostile one: it must go on. */
  async function withWitness(options: Partial<ListenOptions> = {}) {
    const served = await serve(options);
    const witness = await new WebSocketNetwork().dial(served.listener.url, {
      maxFrameBytes: 1 << 20,
      timeoutMs: 5_000,
    });
    await until(() => served.heard.length === 1);
    return {
      ...served,
      async stillWell() {
        const before = served.heard[0]!.frames.length;
        witness.send(Uint8Array.of(1));
        await until(() => served.heard[0]!.frames.length === before + 1);
      },
    };
  }

  test("a text frame ends its connection", async () => {
    const { listener, heard, stillWell } = await withWitness();
    const socket = await stranger(listener.url);
    socket.send("text");
    expect(await closeOf(socket)).toBe(1003);
    await until(() => heard[1]!.closed !== undefined);
    expect(heard[1]!).toMatchObject({ frames: [], closed: "binary frames only" });
    await stillWell();
  });

  test("an oversized frame is refused by its header, before its bytes come", async () => {
    const { listener, heard, stillWell, port } = await withWitness();
    const socket = await stranger(listener.url);
    socket.send(new Uint8Array((1 << 20) + 1));
    expect(await closeOf(socket)).toBe(1009);
    // By hand: only the header of a frame of 2^62 bytes.
    const raw = await upgraded(port);
    raw.write(Buffer.from([0x82, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0]));
    await until(() => heard[2]?.closed !== undefined);
    expect(heard[2]!.frames).toEqual([]);
    await stillWell();
  });

  test("a frame in parts arrives as one, within the limit", async () => {
    const { listener, heard, stillWell } = await withWitness();
    const socket = await stranger(listener.url);
    socket.send(Uint8Array.of(1, 2), { fin: false });
    socket.ping();
    socket.send(Uint8Array.of(3), { fin: false });
    socket.send(Uint8Array.of(4), { fin: true });
    await until(() => heard[1]!.frames.length === 1);
    expect(heard[1]!.frames[0]).toEqual(Uint8Array.of(1, 2, 3, 4));
    for (let i = 0; i < 3; i++) socket.send(new Uint8Array(600_000), { fin: false });
    expect(await closeOf(socket)).toBe(1009);
    await stillWell();
  });

  test.each([
    ["reserved bits", Buffer.from([0xf2, 0x80, 0, 0, 0, 0])],
    ["an unknown opcode", Buffer.from([0x83, 0x80, 0, 0, 0, 0])],
    ["a frame without a mask", Buffer.from([0x82, 0x01, 7])],
    ["noise", Buffer.from("GET / HTTP/1.1\r\n\r\n".repeat(20))],
    ["a control frame in parts", Buffer.from([0x09, 0x80, 0, 0, 0, 0])],
  ])("%s ends its connection", async (_what, bytes) => {
    const { heard, stillWell, port } = await withWitness();
    const raw = await upgraded(port);
    raw.write(bytes);
    await until(() => heard[1]?.closed !== undefined);
    expect(heard[1]!.frames).toEqual([]);
    await stillWell();
  });

  test("bytes that are no HTTP, a half request and a reset disturb nobody", async () => {
    const { stillWell, port } = await withWitness();
    const noise = await tcp(port);
    noise.write(Buffer.from(Array.from({ length: 1_000 }, (_, i) => (i * 37) & 255)));
    const half = await tcp(port);
    half.write("GET /health HTTP/1.1\r\nHost:");
    const reset = await upgraded(port);
    reset.resetAndDestroy();
    noise.resume();
    await until(() => noise.destroyed);
    await stillWell();
  });

  test("what a stranger may send before it is trusted is bounded, afterwards not", async () => {
    const { listener, heard } = await serve({ untrustedBytes: 10_000 });
    const stingy = await stranger(listener.url);
    stingy.send(new Uint8Array(500_000));
    await closeOf(stingy);
    await until(() => heard[0]!.closed !== undefined);
    expect(heard[0]!).toMatchObject({ frames: [], closed: "too much came before it proved who it is" });
    const known = await stranger(listener.url);
    await until(() => heard.length === 2);
    heard[1]!.connection.trust!();
    known.send(new Uint8Array(500_000));
    await until(() => heard[1]!.frames.length === 1);
  });

  test("closing ends at once what never spoke, and what answers no close within a second", async () => {
    const { listener, port, heard } = await serve();
    const silent = await tcp(port);
    const deaf = await upgraded(port);
    deaf.pause();
    await until(() => heard.length === 1);
    await listener.close();
    expect(heard[0]!.closed).toBe("the listener was closed");
    await until(() => silent.destroyed);
  });
});

describe("dialling with a WebSocketNetwork", () => {
  /** A server that takes connections and hands the raw bytes out. */
  async function rawServer(onSocket: (socket: Socket) => void): Promise<string> {
    const sockets = new Set<Socket>();
    const server = createServer((socket) => {
      sockets.add(socket);
      socket.on("error", () => {});
      onSocket(socket);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    cleanups.push(() => {
      for (const socket of sockets) socket.destroy();
      return new Promise<void>((resolve) => void server.close(() => resolve()));
    });
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("no port");
    return `ws://127.0.0.1:${address.port}`;
  }

  async function failure(url: string, timeoutMs: number): Promise<StoreError> {
    const error: unknown = await new WebSocketNetwork().dial(url, { maxFrameBytes: 1_000, timeoutMs }).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(StoreError);
    return error as StoreError;
  }

  test("gives up after the time-out at a server that says nothing, or drips", async () => {
    const silent = await rawServer(() => {});
    expect(await failure(silent, 50)).toMatchObject({ code: "UNAVAILABLE", message: expect.stringContaining("50 ms") });
    const dripping = await rawServer((socket) => {
      const drip = setInterval(() => socket.write("H"), 5);
      socket.on("close", () => clearInterval(drip));
      socket.write("HTTP/1.1 101 Switching Protocols\r\nX: ");
    });
    expect(await failure(dripping, 100)).toMatchObject({ code: "UNAVAILABLE" });
  });

  test("a server that is none, one that says no and one that hangs up are UNAVAILABLE", async () => {
    const noise = await rawServer((socket) => void socket.end("no http\r\n\r\n"));
    expect((await failure(noise, 5_000)).code).toBe("UNAVAILABLE");
    const no = await rawServer((socket) => void socket.end("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"));
    expect(await failure(no, 5_000)).toMatchObject({ code: "UNAVAILABLE", message: expect.stringContaining("503") });
    const gone = await rawServer((socket) => void socket.destroy());
    expect((await failure(gone, 5_000)).code).toBe("UNAVAILABLE");
  });

  test("frames are masked with zero: on the wire they are what was sent", async () => {
    let wire = Buffer.alloc(0);
    const url = await rawServer((socket) => {
      socket.on("data", (chunk: Buffer) => {
        wire = Buffer.concat([wire, chunk]);
        const key = /Sec-WebSocket-Key: (\S+)/i.exec(wire.toString("latin1"))?.[1];
        if (key === undefined || !wire.includes("\r\n\r\n") || answered) return;
        answered = true;
        void accept(socket, key);
      });
    });
    let answered = false;
    const connection = await new WebSocketNetwork().dial(url, { maxFrameBytes: 1_000, timeoutMs: 5_000 });
    wire = Buffer.alloc(0);
    connection.send(Uint8Array.of(1, 2, 3));
    await until(() => wire.length >= 9);
    expect([...wire]).toEqual([0x82, 0x83, 0, 0, 0, 0, 1, 2, 3]);
    connection.close("");
  });
});

async function accept(socket: Socket, key: string): Promise<void> {
  const { createHash } = await import("node:crypto");
  const answer = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${answer}\r\n\r\n`,
  );
}

async function tcp(port: number): Promise<Socket> {
  const socket = tcpConnect(port, "127.0.0.1");
  socket.on("error", () => {});
  cleanups.push(() => void socket.destroy());
  await new Promise<void>((resolve) => socket.once("connect", () => resolve()));
  return socket;
}

/** A raw socket past its upgrade: what is written now are frames. */
async function upgraded(port: number): Promise<Socket> {
  const socket = await tcp(port);
  socket.write(
    "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
  );
  await new Promise<void>((resolve) => socket.once("data", () => resolve()));
  return socket;
}
