/**
 * A network within one process: latencies and faults drawn from the given chance, everything on the given clock, so that
 * one seed gives one run. Connections behave as TCP's do: they deliver in order or end; what meets a cut waits for the
 * heal; a dead process's peers hear of it. Only `loss`, `duplicate` and `reorder` break that promise, on purpose: Raft
 * tolerates any of them, and whatever does not must notice.
 */
import { StoreError } from "../base/errors.ts";
import type { Clock } from "../platform/clock.ts";
import type { Random } from "../platform/random.ts";
import { closeReason, formatAddress, parseAddress, parseListenAddress } from "./address.ts";
import { BACKLOG_BYTES_MAX, type Connection, type Listener, type ListenOptions, type Network } from "./network.ts";

export interface MemoryNetworkOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** One way, least and most. Default 0.2 to 2 ms. */
  readonly latencyMs?: readonly [number, number];
  /** See `BACKLOG_BYTES_MAX`. */
  readonly backlogBytes?: number;
}

/** A reordered or repeated frame comes up to this much late: enough to cross several heartbeats. */
const STRAY_MS = 300;
const FIRST_PORT = 40_000;

/** What the way from one host to another suffers. */
interface Link {
  cut: boolean;
  loss: number;
  duplicate: number;
  reorder: number;
  delayMs: number;
}

const HEALTHY: Readonly<Link> = { cut: false, loss: 0, duplicate: 0, reorder: 0, delayMs: 0 };

type Item =
  | { readonly kind: "open" }
  | { readonly kind: "frame"; readonly bytes: Uint8Array }
  | { readonly kind: "close"; readonly reason: string };

interface Listening {
  readonly host: string;
  readonly options: ListenOptions;
  readonly accepted: Set<End>;
}

export class MemoryNetwork {
  readonly #clock: Clock;
  /** By "from\nto". */
  readonly #links = new Map<string, Link>();
  /** By "host:port". */
  readonly #listening = new Map<string, Listening>();
  readonly #ends = new Set<End>();
  /** Ways on which something waits for the end of a cut. */
  readonly #held = new Set<Way>();
  readonly #crashes = new Map<string, number>();
  readonly #inside: Inside;
  #nextPort = FIRST_PORT;

  constructor(options: MemoryNetworkOptions) {
    const { clock, random, latencyMs: [least, most] = [0.2, 2] } = options;
    this.#clock = clock;
    this.#inside = {
      clock,
      backlogBytes: options.backlogBytes ?? BACKLOG_BYTES_MAX,
      link: (from, to) => this.#links.get(`${from}\n${to}`) ?? HEALTHY,
      latency: (link) => link.delayMs + least + random.next() * (most - least),
      chance: (of) => of > 0 && random.next() < of,
      stray: () => random.next() * STRAY_MS,
      held: this.#held,
      ends: this.#ends,
    };
  }

  /** The network as one host sees it. Faults go by these names, addresses by what is listened on. */
  endpoint(name: string): Network {
    return {
      listen: async (options) => this.#listen(name, options),
      dial: (url, options) => this.#dial(name, url, options),
    };
  }

  /** Nothing gets from one to the other any more; what is under way waits for `heal`. */
  cut(from: string, to: string): void {
    this.#link(from, to).cut = true;
  }

  heal(from: string, to: string): void {
    this.#link(from, to).cut = false;
    for (const way of [...this.#held]) {
      if (way.from !== from || way.to !== to) continue;
      this.#held.delete(way);
      way.resume();
    }
  }

  /** Chance of a frame to vanish. */
  loss(from: string, to: string, chance: number): void {
    this.#link(from, to).loss = chance;
  }

  /** Chance of a frame to come once more, late. */
  duplicate(from: string, to: string, chance: number): void {
    this.#link(from, to).duplicate = chance;
  }

  /** Chance of a frame to be overtaken by later ones. */
  reorder(from: string, to: string, chance: number): void {
    this.#link(from, to).reorder = chance;
  }

  /** Added to the latency; order is kept. */
  delay(from: string, to: string, ms: number): void {
    this.#link(from, to).delayMs = ms;
  }

  /** The host's processes died: what they had sent still arrives, then their peers hear of it. Its ports are free. */
  crash(name: string): void {
    this.#crashes.set(name, (this.#crashes.get(name) ?? 0) + 1);
    for (const [key, { host }] of [...this.#listening]) if (host === name) this.#listening.delete(key);
    for (const end of [...this.#ends]) if (end.host === name) end.die();
  }

  #link(from: string, to: string): Link {
    const key = `${from}\n${to}`;
    let link = this.#links.get(key);
    if (link === undefined) {
      link = { ...HEALTHY };
      this.#links.set(key, link);
    }
    return link;
  }

  #listen(host: string, options: ListenOptions): Listener {
    const address = parseListenAddress(options.url);
    const port = address.port === 0 ? this.#freePort(address.host) : address.port;
    const key = `${address.host}:${port}`;
    if (this.#listening.has(key)) {
      throw new StoreError("ADDRESS_IN_USE", { message: `quorate: the address ${options.url} is in use` });
    }
    const listening: Listening = { host, options, accepted: new Set() };
    this.#listening.set(key, listening);
    return {
      url: formatAddress(address.host, port),
      close: async () => {
        if (this.#listening.get(key) === listening) this.#listening.delete(key);
        for (const end of [...listening.accepted]) end.close("the listener was closed");
        // What the closing of a connection calls has run when this resolves.
        await new Promise<void>((resolve) => this.#clock.defer(resolve));
      },
    };
  }

  #freePort(host: string): number {
    while (this.#listening.has(`${host}:${this.#nextPort}`)) this.#nextPort++;
    return this.#nextPort++;
  }

  #dial(
    from: string,
    url: string,
    options: { readonly maxFrameBytes: number; readonly timeoutMs: number },
  ): Promise<Connection> {
    return new Promise((resolve, reject) => {
      const { host, port } = parseAddress(url);
      const key = `${host}:${port}`;
      const to = this.#listening.get(key)?.host ?? host;
      const inside = this.#inside;
      const crashes = this.#crashes.get(from);
      let here: End | undefined;
      const fail = (why: string): void =>
        reject(new StoreError("UNAVAILABLE", { message: `quorate: could not connect to ${url}: ${why}` }));
      const timer = this.#clock.after(options.timeoutMs, () => {
        here?.close("the dialling side gave up");
        fail(`no answer within ${options.timeoutMs} ms`);
      });
      const lost = (a: string, b: string): boolean => inside.link(a, b).cut || inside.chance(inside.link(a, b).loss);
      if (lost(from, to)) return;
      this.#clock.after(inside.latency(inside.link(from, to)), () => {
        // The answer to a process that died meanwhile reaches nobody.
        if (this.#crashes.get(from) !== crashes) return;
        const listening = this.#listening.get(key);
        if (listening === undefined) {
          if (lost(to, from)) return;
          this.#clock.after(inside.latency(inside.link(to, from)), () => {
            timer.cancel();
            fail("connection refused");
          });
          return;
        }
        const opened = new End(inside, from, url, options.maxFrameBytes, () => {});
        here = opened;
        const there = new End(inside, listening.host, from, listening.options.maxFrameBytes, () => {
          listening.accepted.delete(there);
        });
        opened.connect(there);
        there.connect(opened);
        listening.accepted.add(there);
        opened.onOpen = () => {
          timer.cancel();
          resolve(opened);
        };
        there.accept(listening.options.onConnection);
      });
    });
  }
}

/** What connections need of their network. */
interface Inside {
  readonly clock: Clock;
  readonly backlogBytes: number;
  link(from: string, to: string): Readonly<Link>;
  latency(link: Readonly<Link>): number;
  chance(of: number): boolean;
  stray(): number;
  readonly held: Set<Way>;
  readonly ends: Set<End>;
}

/** One direction of a connection. There is an event for each item in the queue; whichever comes next takes the first. */
class Way {
  readonly from: string;
  readonly to: string;
  readonly #net: Inside;
  readonly #target: End;
  readonly #queue: Item[] = [];
  #lastAt = 0;
  /** Events that found the way cut. */
  #owed = 0;
  waitingBytes = 0;

  constructor(net: Inside, from: string, target: End) {
    this.#net = net;
    this.from = from;
    this.to = target.host;
    this.#target = target;
  }

  push(item: Item): void {
    const net = this.#net;
    const link = net.link(this.from, this.to);
    if (item.kind === "frame") {
      if (net.chance(link.loss)) return;
      if (net.chance(link.duplicate)) this.#stray(item.bytes.slice());
      if (net.chance(link.reorder)) {
        this.#stray(item.bytes);
        return;
      }
      this.waitingBytes += item.bytes.length;
    }
    this.#queue.push(item);
    this.#schedule();
  }

  resume(): void {
    for (; this.#owed > 0; this.#owed--) this.#schedule();
  }

  #schedule(): void {
    const { clock } = this.#net;
    const at = Math.max(this.#lastAt, clock.now() + this.#net.latency(this.#net.link(this.from, this.to)));
    this.#lastAt = at;
    clock.after(at - clock.now(), () => this.#due());
  }

  #due(): void {
    if (this.#net.link(this.from, this.to).cut) {
      this.#owed += 1;
      this.#net.held.add(this);
      return;
    }
    const item = this.#queue.shift();
    if (item === undefined) return;
    if (item.kind === "frame") this.waitingBytes -= item.bytes.length;
    this.#target.receive(item);
  }

  #stray(bytes: Uint8Array): void {
    const { clock } = this.#net;
    clock.after(this.#net.latency(this.#net.link(this.from, this.to)) + this.#net.stray(), () => {
      if (!this.#net.link(this.from, this.to).cut) this.#target.receive({ kind: "frame", bytes });
    });
  }
}

class End implements Connection {
  readonly host: string;
  readonly remote: string;
  readonly #net: Inside;
  readonly #maxFrameBytes: number;
  readonly #onEnd: () => void;
  #out: Way | undefined;
  /** A dialling side is open once the answer arrived. */
  #state: "opening" | "open" | "ended" = "opening";
  onOpen: () => void = () => {};
  onFrame: (frame: Uint8Array) => void = () => {};
  onClose: (reason: string) => void = () => {};

  constructor(net: Inside, host: string, remote: string, maxFrameBytes: number, onEnd: () => void) {
    this.#net = net;
    this.host = host;
    this.remote = remote;
    this.#maxFrameBytes = maxFrameBytes;
    this.#onEnd = onEnd;
    net.ends.add(this);
  }

  connect(other: End): void {
    this.#out = new Way(this.#net, this.host, other);
  }

  accept(onConnection: (connection: Connection) => void): void {
    this.#state = "open";
    this.#out?.push({ kind: "open" });
    this.#guarded(() => onConnection(this));
  }

  get bufferedBytes(): number {
    return this.#out?.waitingBytes ?? 0;
  }

  send(frame: Uint8Array): void {
    if (this.#state !== "open" || this.#out === undefined) return;
    if (this.#out.waitingBytes > this.#net.backlogBytes) {
      this.close(`more than ${this.#net.backlogBytes} bytes wait for the other side`);
      return;
    }
    this.#out.push({ kind: "frame", bytes: frame.slice() });
  }

  close(reason: string): void {
    if (this.#state === "ended") return;
    const text = closeReason(reason);
    this.#out?.push({ kind: "close", reason: text });
    this.#end();
    this.#net.clock.defer(() => this.onClose(text));
  }

  /** Its process died: it hears nothing, the other side does. */
  die(): void {
    if (this.#state === "ended") return;
    this.#out?.push({ kind: "close", reason: "connection lost: the other side died" });
    this.#end();
  }

  receive(item: Item): void {
    if (this.#state === "ended") return;
    switch (item.kind) {
      case "open":
        this.#state = "open";
        this.onOpen();
        return;
      case "frame": {
        const { bytes } = item;
        if (this.#state !== "open") return;
        if (bytes.length > this.#maxFrameBytes) {
          this.close(`a frame of ${bytes.length} bytes is larger than ${this.#maxFrameBytes}`);
          return;
        }
        this.#guarded(() => this.onFrame(bytes));
        return;
      }
      case "close":
        this.#end();
        this.onClose(item.reason);
    }
  }

  #end(): void {
    this.#state = "ended";
    this.#net.ends.delete(this);
    this.#onEnd();
  }

  /** What one connection's frames do to their reader ends that connection, and nothing else. */
  #guarded(call: () => void): void {
    try {
      call();
    } catch (error) {
      this.close(`the receiver failed: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
}
