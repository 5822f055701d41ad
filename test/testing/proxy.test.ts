/** Real sockets through the fault proxy. */
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { describe, expect, onTestFinished, test } from "vitest";
import { FaultProxy } from "../../src/testing/node/proxy.ts";

interface Rig {
  readonly proxy: FaultProxy;
  /** A connection from a to b, which answers each byte with itself. */
  readonly socket: Socket;
  /** Resolves with what has come back once it is as long as `bytes`. */
  received(bytes: number): Promise<string>;
  readonly closed: Promise<void>;
}

async function rig(): Promise<Rig> {
  const echo = createServer((socket) => {
    socket.on("error", () => {});
    socket.pipe(socket);
  });
  await new Promise<void>((resolve) => echo.listen({ port: 0, host: "127.0.0.1" }, resolve));
  const proxy = new FaultProxy();
  const port = await proxy.route("a", "b", (echo.address() as AddressInfo).port);
  const socket = connect({ port, host: "127.0.0.1" });
  socket.on("error", () => {});
  onTestFinished(async () => {
    socket.destroy();
    await proxy.close();
    await new Promise<void>((resolve) => echo.close(() => resolve()));
  });
  let text = "";
  let wake = (): void => {};
  socket.on("data", (data) => {
    text += data.toString();
    wake();
  });
  return {
    proxy,
    socket,
    closed: new Promise((resolve) => socket.once("close", () => resolve())),
    received: (bytes) =>
      new Promise((resolve) => {
        wake = () => text.length >= bytes && resolve(text);
        wake();
      }),
  };
}

describe("FaultProxy", () => {
  test("passes everything on, both ways, in order", async () => {
    const { socket, received } = await rig();
    for (let i = 0; i < 100; i++) socket.write(`${i % 10}`);
    expect(await received(100)).toBe("0123456789".repeat(10));
  });

  test("what is held comes after the heal, and nothing before", async () => {
    const { proxy, socket, received } = await rig();
    socket.write("1");
    await received(1);
    proxy.set("a", "b", { held: true });
    socket.write("2");
    proxy.set("b", "a", { held: true });
    // Only the way back is opened: the byte is still held on its way there.
    proxy.set("b", "a", { held: false });
    expect(proxy.isHeld("a", "b")).toBe(true);
    const early = await Promise.race([
      received(2),
      new Promise((resolve) => socket.write("3", () => resolve("written"))),
    ]);
    expect(early).toBe("written");
    proxy.set("a", "b", { held: false });
    expect(await received(3)).toBe("123");
  });

  test("one way alone can be held: the answer waits", async () => {
    const { proxy, socket, received } = await rig();
    proxy.set("b", "a", { held: true });
    socket.write("x");
    await new Promise<void>((resolve) => socket.write("y", () => resolve()));
    proxy.set("b", "a", { held: false });
    expect(await received(2)).toBe("xy");
  });

  test("a delay is added on each way it is asked for", async () => {
    const { proxy, socket, received } = await rig();
    proxy.set("a", "b", { delayMs: 60 });
    proxy.set("b", "a", { delayMs: 60 });
    const begun = performance.now();
    socket.write("x");
    await received(1);
    expect(performance.now() - begun).toBeGreaterThanOrEqual(119);
  });

  test("a byte rate bounds what gets through in a time", async () => {
    const { proxy, socket, received } = await rig();
    proxy.set("a", "b", { bytesPerSecond: 10_000 });
    const begun = performance.now();
    socket.write("x".repeat(2_000));
    await received(2_000);
    expect(performance.now() - begun).toBeGreaterThanOrEqual(140);
  });

  test("a byte rate that allows a fraction of a byte goes on", async () => {
    const { proxy, socket, received } = await rig();
    proxy.set("a", "b", { bytesPerSecond: 10_025 });
    socket.write("x".repeat(2_000));
    expect(await received(2_000)).toHaveLength(2_000);
  });

  test("a byte rate holds for many small pieces as for a large one", async () => {
    const { proxy, socket, received } = await rig();
    proxy.set("a", "b", { bytesPerSecond: 10_000 });
    const begun = performance.now();
    for (let sent = 0; sent < 2_000; sent += 100) {
      socket.write("x".repeat(100));
      await received(sent + 100);
    }
    expect(performance.now() - begun).toBeGreaterThanOrEqual(140);
  });

  test("severed connections end for both sides", async () => {
    const { proxy, socket, received, closed } = await rig();
    socket.write("x");
    await received(1);
    expect(proxy.sever("b", "a")).toBeGreaterThan(0);
    await closed;
  });
});
