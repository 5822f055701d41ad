/**
 * A proxy that real connections go through, with faults by who talks to whom: hold everything (a partition: TCP goes on
 * trying), let it trickle, delay it, or break it. One listener for each pair, so that both ends are known.
 */
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

interface Way {
  /** Nothing gets through; what was sent waits. */
  held: boolean;
  delayMs: number;
  /** Infinity: as fast as it comes. */
  bytesPerSecond: number;
}

/** What may wait in one direction of a connection before its sender is made to wait too. */
const WAITING_BYTES_MAX = 1 << 20;
/** How often a limited way sends, and how much it may catch up on at once. */
const RATE_SLICE_MS = 20;

export class FaultProxy {
  readonly #ways = new Map<string, Way>();
  readonly #servers: Server[] = [];
  readonly #pipes = new Set<Pipe>();

  /** Listens for what `from` sends to `to`, which listens on `targetPort`. Gives the port to dial instead. */
  async route(from: string, to: string, targetPort: number): Promise<number> {
    const server = createServer({ allowHalfOpen: false }, (client) => {
      const pipes = [
        new Pipe(this.#way(from, to), from, to, (pipe) => this.#pipes.delete(pipe)),
        new Pipe(this.#way(to, from), to, from, (pipe) => this.#pipes.delete(pipe)),
      ] as const;
      for (const pipe of pipes) this.#pipes.add(pipe);
      // Whoever dials into a partition gets no further than this machine's own kernel: nothing answers.
      const upstream = connect({ port: targetPort, host: "127.0.0.1" });
      for (const socket of [client, upstream]) {
        socket.setNoDelay(true);
        socket.on("error", () => {}); // "close" follows
      }
      pipes[0].join(client, upstream);
      pipes[1].join(upstream, client);
    });
    server.on("error", () => {}); // the listening itself is awaited below
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen({ port: 0, host: "127.0.0.1" }, resolve);
    });
    this.#servers.push(server);
    return (server.address() as AddressInfo).port;
  }

  set(from: string, to: string, change: Partial<Way>): void {
    Object.assign(this.#way(from, to), change);
    for (const pipe of this.#pipes) if (pipe.from === from && pipe.to === to) pipe.pump();
  }

  isHeld(from: string, to: string): boolean {
    return this.#way(from, to).held;
  }

  delayOf(from: string, to: string): number {
    return this.#way(from, to).delayMs;
  }

  /** Breaks every connection between the two. */
  sever(a: string, b: string): number {
    let broken = 0;
    for (const pipe of [...this.#pipes]) {
      if (!((pipe.from === a && pipe.to === b) || (pipe.from === b && pipe.to === a))) continue;
      pipe.destroy();
      broken += 1;
    }
    return broken;
  }

  async close(): Promise<void> {
    for (const pipe of [...this.#pipes]) pipe.destroy();
    await Promise.all(this.#servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve()))));
  }

  #way(from: string, to: string): Way {
    const key = `${from}\n${to}`;
    let way = this.#ways.get(key);
    if (way === undefined) {
      way = { held: false, delayMs: 0, bytesPerSecond: Infinity };
      this.#ways.set(key, way);
    }
    return way;
  }
}

/** One direction of one connection. */
class Pipe {
  readonly from: string;
  readonly to: string;
  readonly #way: Way;
  readonly #onEnd: (pipe: Pipe) => void;
  readonly #queue: { readonly bytes: Buffer; readonly due: number }[] = [];
  #waiting = 0;
  /** What a limited rate allows by now, whole and broken bytes. */
  #credit = 0;
  #creditAt = 0;
  #source: Socket | undefined;
  #target: Socket | undefined;
  #sourceEnded = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(way: Way, from: string, to: string, onEnd: (pipe: Pipe) => void) {
    this.#way = way;
    this.from = from;
    this.to = to;
    this.#onEnd = onEnd;
  }

  join(source: Socket, target: Socket): void {
    this.#source = source;
    this.#target = target;
    source.on("data", (bytes: Buffer) => {
      this.#queue.push({ bytes, due: performance.now() + this.#way.delayMs });
      this.#waiting += bytes.length;
      if (this.#waiting > WAITING_BYTES_MAX) source.pause();
      this.pump();
    });
    // An end travels like data: behind what was sent before it, and not through a partition.
    source.on("close", () => {
      this.#sourceEnded = true;
      this.pump();
    });
    target.on("close", () => this.destroy());
  }

  pump(): void {
    const target = this.#target;
    if (this.#way.held || target === undefined || this.#timer !== undefined) return;
    this.#topUp();
    for (let first = this.#queue[0]; first !== undefined; first = this.#queue[0]) {
      const early = first.due - performance.now();
      if (early > 0) {
        this.#later(early);
        return;
      }
      if (this.#credit < 1) {
        this.#later(RATE_SLICE_MS);
        return;
      }
      const part = first.bytes.length <= this.#credit ? first.bytes : first.bytes.subarray(0, Math.floor(this.#credit));
      this.#credit -= part.length;
      this.#waiting -= part.length;
      if (part.length === first.bytes.length) this.#queue.shift();
      else this.#queue[0] = { bytes: first.bytes.subarray(part.length), due: first.due };
      target.write(part);
    }
    if (this.#waiting <= WAITING_BYTES_MAX / 2) this.#source?.resume();
    if (this.#sourceEnded) this.destroy();
  }

  #topUp(): void {
    const { bytesPerSecond } = this.#way;
    const now = performance.now();
    const earned =
      bytesPerSecond === Infinity ? Infinity : this.#credit + ((now - this.#creditAt) * bytesPerSecond) / 1_000;
    this.#credit = Math.min(earned, Math.max(1, (bytesPerSecond * RATE_SLICE_MS) / 1_000));
    this.#creditAt = now;
  }

  destroy(): void {
    clearTimeout(this.#timer);
    this.#source?.destroy();
    this.#target?.destroy();
    this.#onEnd(this);
  }

  #later(ms: number): void {
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.pump();
    }, ms);
  }
}
