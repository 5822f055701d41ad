/**
 * Real members, started with the shipped command line, which reach each other and their clients through a fault proxy
 * only. What the nemesis may do to them stands here; whether they keep their promises is for the checkers.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { formatId, type MemberId, revision as toRevision } from "../../base/ids.ts";
import { type RandomSource, randomInt } from "../../base/prng.ts";
import type { Client } from "../../client/client.ts";
import { connect } from "../../node/connect.ts";
import type { Clock } from "../../platform/clock.ts";
import { freeBlock } from "../../platform/node/ports.ts";
import { HashAgreement } from "../checkers/hash-agreement.ts";
import { Counters } from "../counters.ts";
import type { HistoryRole } from "../history.ts";
import type { FaultControls, LinkTrouble } from "../nemesis.ts";
import type { Power } from "../world.ts";
import { FaultProxy } from "./proxy.ts";

export interface ProcessClusterOptions {
  readonly nodes: number;
  /** For data, one folder a member. */
  readonly dir: string;
  /** The command line to start: `dist/cli/main.js`. */
  readonly main: string;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly note: (note: string, member: string, detail: string) => void;
  readonly onRole: (member: string, role: HistoryRole, term: number) => void;
  readonly onHealth: (connected: readonly string[], quorum: number) => void;
  /** Each member's folder becomes a file system of its own, small enough to fill. Needs root. */
  readonly smallDisks?: boolean;
  /** libfaketime, where clocks shall go wrong. */
  readonly faketime?: string;
  /** More flags for every member. */
  readonly flags?: readonly string[];
}

/** Where a member listens. A member that takes another's place is reached by clients where that one was. */
interface Slot {
  readonly peerPort: number;
  readonly key: string;
}

interface Process {
  readonly child: ChildProcess;
  readonly said: string[];
  ready: boolean;
  /** Its end was asked for. */
  wanted: boolean;
}

/** Places for members that come later: one for each that is replaced and not yet gone, and a guest. */
const SPARE_SLOTS = 4;
const DISK_BYTES = 96 << 20;
const STATUS_MS = 200;
const ADMIN_MS = 300;
const CALL_MS = 3_000;
/** Before a member that found nobody to join is started again. */
const JOIN_AGAIN_MS = 500;
/** Ways slower than this count as cut where the question is whether a majority is connected. */
const SLOW_MS = 50;
/** What members say when they find their disk damaged (docs/errors.md: WAL_CORRUPT, STATE_CORRUPT, DISK_FAILED). */
const DAMAGE = /damaged|is missing|disk failed|cannot be read/i;
const FULL = /disk is full|no space left/i;
const REMOVED = /was removed from the cluster/;
/** What a member ends with that asked where to join while nobody could answer: codes by their texts (base/errors.ts). */
const NOBODY =
  /no endpoint could be reached|connection was lost|timed out|deadline exceeded|no leader|leader changed|server stopped|unhealthy cluster/i;
const TOKEN = "jepsen";

export class ProcessCluster implements FaultControls {
  readonly proxy: FaultProxy = new FaultProxy();
  readonly counters: Counters = new Counters();
  readonly hashes: HashAgreement = new HashAgreement();
  /** Ends that nobody asked for. */
  readonly failures: string[] = [];
  /** The highest that was asked for. */
  compactedTo = 0;
  /** Compactions stay at or below. */
  compactLimit: () => number = () => Infinity;
  readonly #o: ProcessClusterOptions;
  readonly #slots: Slot[] = [];
  readonly #slotOf = new Map<string, Slot>();
  readonly #clientPorts = new Map<string, number>();
  readonly #clientRoutes = new Map<string, number>();
  /** By "slot>slot": the proxy's port. */
  readonly #routes = new Map<string, number>();
  readonly #processes = new Map<string, Process>();
  /** All that have not ended, wanted or not. */
  readonly #children = new Set<ChildProcess>();
  readonly #ids = new Map<string, string>();
  readonly #statusOf = new Map<string, { readonly role: HistoryRole; readonly term: number }>();
  readonly #applied = new Map<string, number>();
  readonly #paused = new Set<string>();
  readonly #full = new Set<string>();
  readonly #everFull = new Set<string>();
  readonly #joins = new Set<string>();
  readonly #dying = new Map<string, Promise<void>>();
  readonly #rates = new Map<string, number>();
  readonly #mounts: string[] = [];
  #damagedName: string | undefined;
  #founders: readonly string[] = [];
  #names: readonly string[] = [];
  #generations = 1;
  #changes: Promise<void> = Promise.resolve();
  #changesUnderWay = 0;
  #admin: Client | undefined;
  #polling: Promise<void> = Promise.resolve();
  #healthText = "";
  #closed = false;

  constructor(options: ProcessClusterOptions) {
    this.#o = options;
  }

  get names(): readonly string[] {
    return this.#names;
  }

  /** Where clients dial a founder, or whoever took its place: through the proxy. */
  clientUrls(): readonly string[] {
    return this.#founders.map((name) => `ws://127.0.0.1:${this.#clientRoutes.get(name)!}`);
  }

  /** Past the proxy: for the harness itself. */
  directUrls(): readonly string[] {
    return this.#founders.map((name) => this.#directUrl(name));
  }

  async open(): Promise<void> {
    process.once("exit", this.#abandon);
    const { nodes } = this.#o;
    const slots = nodes + SPARE_SLOTS;
    const base = await freeBlock(nodes + slots + 1);
    this.#founders = Array.from({ length: nodes }, (_, i) => `n${i + 1}`);
    for (const [i, name] of this.#founders.entries()) {
      this.#clientPorts.set(name, base + i);
      this.#clientRoutes.set(name, await this.proxy.route("clients", name, base + i));
    }
    this.#clientPorts.set("guest", base + nodes);
    for (let i = 0; i < slots; i++) this.#slots.push({ peerPort: base + nodes + 1 + i, key: `slot${i}` });
    for (const from of this.#slots) {
      for (const to of this.#slots) {
        if (from === to) continue;
        this.#routes.set(`${from.key}>${to.key}`, await this.proxy.route(from.key, to.key, to.peerPort));
      }
    }
    for (const [i, name] of this.#founders.entries()) this.#slotOf.set(name, this.#slots[i]!);
    this.#names = this.#founders;
    for (const name of this.#names) this.start(name);
    this.#admin = await connect({ endpoints: this.directUrls(), timeoutMs: CALL_MS });
    this.#polling = this.#poll();
  }

  /** Once every member is up and one leads. */
  async ready(limitMs: number = 60_000): Promise<boolean> {
    return this.until(
      () => this.#names.every((name) => this.#processes.get(name)?.ready === true) && this.leader !== undefined,
      limitMs,
    );
  }

  /** Of the members that run. */
  get pids(): readonly number[] {
    return [...this.#processes.values()].flatMap(({ child }) => child.pid ?? []);
  }

  get leader(): string | undefined {
    let best: { readonly name: string; readonly term: number } | undefined;
    for (const [name, { role, term }] of this.#statusOf) {
      if (role === "leader" && term > (best?.term ?? 0)) best = { name, term };
    }
    return best?.name;
  }

  /** All run, one leads, and all have applied as much. */
  get converged(): boolean {
    const roles = this.#names.map((name) => this.#statusOf.get(name)?.role);
    const applied = new Set(this.#names.map((name) => this.#applied.get(name)));
    const led = roles.filter((role) => role === "leader").length === 1;
    return led && roles.every((role) => role === "leader" || role === "follower") && applied.size === 1;
  }

  async until(holds: () => boolean, limitMs: number): Promise<boolean> {
    const { clock } = this.#o;
    const end = clock.now() + limitMs;
    while (!holds()) {
      if (clock.now() >= end || (this.failures.length > 0 && this.#names.length === 0)) return false;
      await this.#pause(50);
    }
    return true;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#polling;
    await this.#admin?.close();
    const ended = [...this.#children].map(
      (child) => new Promise<void>((resolve) => child.once("exit", () => resolve())),
    );
    this.#abandon();
    await Promise.all(ended);
    await this.proxy.close();
    process.off("exit", this.#abandon);
  }

  /** Also what happens where this process ends before its run: neither members nor mounts outlive it. */
  readonly #abandon = (): void => {
    this.#closed = true;
    for (const child of this.#children) child.kill("SIGKILL");
    for (const mount of this.#mounts.splice(0)) spawnSync("umount", ["--lazy", mount]);
  };

  // --- what the nemesis does ---

  start(name: string): void {
    if (this.#closed || this.#processes.has(name) || !this.#names.includes(name)) return;
    // Its directory and its ports are its own until it has ended.
    const dying = this.#dying.get(name);
    if (dying !== undefined) {
      void dying.then(() => this.start(name));
      return;
    }
    const { main, dir, flags = [], faketime } = this.#o;
    const home = join(dir, name);
    if (this.#o.smallDisks === true) this.#mount(home);
    const args = [main, "server", "--name", name, "--dir", join(home, "data"), "--json", "--log-level", "info"];
    args.push("--listen-client-url", this.#directUrl(name), "--listen-peer-url", this.#peerUrl(name));
    const others = this.#slots.filter((slot) => slot !== this.#slotOf.get(name));
    const mine = this.#slotOf.get(name)!;
    const reroutes = others.map(
      (slot) => `ws://127.0.0.1:${slot.peerPort}=ws://127.0.0.1:${this.#routes.get(`${mine.key}>${slot.key}`)!}`,
    );
    args.push("--reroute", reroutes.join(","));
    if (this.#joins.has(name)) args.push("--join", this.directUrls().join(","));
    else
      args.push(
        "--token",
        TOKEN,
        "--initial-cluster",
        this.#founders.map((each) => `${each}=${this.#founderUrl(each)}`).join(","),
      );
    mkdirSync(home, { recursive: true });
    const env = { ...process.env };
    for (const key of Object.keys(env)) if (key.startsWith("QUORATE_")) delete env[key];
    if (faketime !== undefined) {
      if (!existsSync(this.#timeFile(name))) writeFileSync(this.#timeFile(name), "+0\n");
      // A rate holds for a process from its start; only the time of day may jump while it runs: a steady clock never does.
      const rate = this.#rates.get(name) ?? 1;
      const jumping = { FAKETIME_TIMESTAMP_FILE: this.#timeFile(name), FAKETIME_DONT_FAKE_MONOTONIC: "1" };
      Object.assign(env, { LD_PRELOAD: faketime, FAKETIME_NO_CACHE: "1" });
      Object.assign(
        env,
        rate === 1 ? { ...jumping, DONT_FAKE_MONOTONIC: "1" } : { FAKETIME: `+0 x${rate.toFixed(3)}` },
      );
    }
    const child = spawn(process.execPath, [...args, ...flags], { stdio: ["ignore", "pipe", "pipe"], env });
    const started: Process = { child, said: [], ready: false, wanted: false };
    this.#processes.set(name, started);
    this.#children.add(child);
    this.#o.note("boot", name, `pid ${child.pid}`);
    createInterface({ input: child.stdout }).on("line", (line) => {
      const said = JSON.parse(line) as { readonly event: string; readonly id: string };
      if (said.event !== "ready" || this.#processes.get(name) !== started) return;
      started.ready = true;
      this.#ids.set(name, formatId(BigInt(`0x${said.id}`)));
      this.#o.note("start", this.#ids.get(name)!, name);
      this.#healthChanged();
    });
    createInterface({ input: child.stderr }).on("line", (line) => {
      started.said.push(line);
      if (started.said.length > 40) started.said.shift();
      if (line.includes("installed a snapshot")) this.counters.count("snapshot install");
      if (line.includes("cut the end of the log")) this.counters.count("log truncation");
    });
    child.once("exit", (_code, signal) => {
      this.#children.delete(child);
      if (!this.#closed) this.#gone(name, started, signal);
    });
    // Later than its exit: by now its last words have been heard.
    child.once("close", (code, signal) => {
      if (this.#closed || started.wanted) return;
      this.#ended(name, started, `${signal ?? `exit code ${code}`}`);
    });
  }

  /** SIGKILL. What the kernel has it keeps: a power cut cannot be had this way. */
  kill(name: string, _power: Power = "stays"): void {
    const running = this.#processes.get(name);
    if (running === undefined) return;
    running.wanted = true;
    this.#gone(name, running, "SIGKILL");
    running.child.kill("SIGKILL");
  }

  /** SIGTERM, and waits for its end: leadership is handed over. */
  async stop(name: string): Promise<void> {
    const running = this.#processes.get(name);
    if (running === undefined) return;
    const ended = new Promise<void>((resolve) => running.child.once("exit", () => resolve()));
    const late = setTimeout(() => running.child.kill("SIGKILL"), 15_000);
    running.wanted = true;
    this.#gone(name, running, "SIGTERM");
    running.child.kill("SIGTERM");
    await ended;
    clearTimeout(late);
  }

  cut(from: string, to: string): void {
    this.proxy.set(this.#key(from), this.#key(to), { held: true });
    this.#healthChanged();
  }

  healCuts(): void {
    for (const [a, b] of this.#ways()) this.proxy.set(a, b, { held: false });
    this.#healthChanged();
  }

  trouble(trouble: Partial<LinkTrouble> | undefined): void {
    for (const [a, b] of this.#ways()) this.proxy.set(a, b, { delayMs: trouble?.delayMs ?? 0 });
    this.#healthChanged();
  }

  limitRate(bytesPerSecond: number): void {
    for (const [a, b] of this.#ways()) this.proxy.set(a, b, { bytesPerSecond });
    this.#healthChanged();
  }

  /** Breaks the connections between members, and of clients, by chance. */
  breakConnections(chance: number): void {
    for (const [a, b] of this.#ways()) if (this.#o.random() < chance) this.proxy.sever(a, b);
    for (const name of this.#founders) if (this.#o.random() < chance) this.proxy.sever("clients", name);
  }

  pause(name: string, paused: boolean): void {
    const running = this.#processes.get(name);
    if (paused === this.#paused.has(name)) return;
    if (paused) this.#paused.add(name);
    else this.#paused.delete(name);
    running?.child.kill(paused ? "SIGSTOP" : "SIGCONT");
    this.#healthChanged();
  }

  /** Needs a block device that stalls: not offered, and named as skipped. */
  stallDisk(): void {}

  fillDisk(name: string, full: boolean): void {
    if (this.#o.smallDisks !== true || !this.#slotOf.has(name)) return;
    const ballast = join(this.#o.dir, name, "ballast");
    if (full) {
      this.#full.add(name);
      this.#everFull.add(name);
      fill(ballast);
    } else {
      this.#full.delete(name);
      rmSync(ballast, { force: true });
    }
    this.#healthChanged();
  }

  setClock(name: string, rate: number, jumpMs: number): void {
    if (this.#o.faketime === undefined) return;
    const offset = `${jumpMs < 0 ? "-" : "+"}${Math.abs(jumpMs / 1_000).toFixed(3)}`;
    writeFileSync(this.#timeFile(name), `${offset}\n`);
    if (rate === (this.#rates.get(name) ?? 1)) return;
    this.#rates.set(name, rate);
    this.kill(name);
    this.start(name);
  }

  compact(): void {
    void this.#compact().catch(() => {}); // refused under faults, or somebody else was faster
  }

  damage(name: string): string {
    if (this.#damagedName !== undefined || this.#changesUnderWay > 0) return "not while another is replaced";
    if (!this.#names.includes(name)) return "gone";
    this.#damagedName = name;
    const running = this.#processes.get(name);
    const flip = (): string => {
      const what = flipByte(join(this.#o.dir, name, "data"), this.#o.random);
      this.start(name);
      return what;
    };
    if (running === undefined) return flip();
    this.kill(name);
    running.child.once("exit", () => this.#o.note("damaged", name, flip()));
    return "a byte, once it is down";
  }

  replace(name: string): Promise<void> {
    return this.#change(this.#damagedName ?? name, async (name) => {
      this.kill(name);
      await this.#remove(name);
      if (this.#damagedName === name) this.#damagedName = undefined;
      this.#generations += 1;
      await this.#add(`${name.split("-", 1)[0]}-${this.#generations}`, this.#o.random() < 0.5);
    });
  }

  async visit(stayMs: number): Promise<void> {
    if (this.#damagedName !== undefined) return;
    await this.#change(undefined, async () => {
      this.#generations += 1;
      const name = `guest-${this.#generations}`;
      await this.#add(name, true);
      await this.#pause(stayMs);
      await this.#remove(name);
      this.kill(name);
    });
  }

  /** Only a disk that stalls on demand makes this likely: the simulator's. */
  async crashCandidate(): Promise<boolean> {
    return false;
  }

  transferLeadership(): void {
    const target = this.#names.find((name) => name !== this.leader && this.#statusOf.get(name)?.role === "follower");
    const id = target === undefined ? undefined : this.#ids.get(target);
    if (id === undefined) return;
    this.#admin?.moveLeader(BigInt(`0x${id}`) as MemberId, { timeoutMs: CALL_MS }).catch(() => {});
  }

  // --- members ---

  async #remove(name: string): Promise<void> {
    this.#names = this.#names.filter((each) => each !== name);
    this.#statusOf.delete(name);
    const id = this.#ids.get(name);
    for (;;) {
      const members = await this.#members();
      if (members !== undefined) {
        const found = members.find((member) => formatId(member.id) === id);
        if (found === undefined) break;
        await this.#admin!.members.remove(found.id, { timeoutMs: CALL_MS }).catch(() => {});
      }
      if (this.#closed) return;
      await this.#pause(ADMIN_MS);
    }
    this.#slotOf.delete(name);
    this.#healthChanged();
  }

  async #add(name: string, asLearner: boolean): Promise<void> {
    const used = new Set(this.#slotOf.values());
    const slot = this.#slots.find((each) => !used.has(each));
    if (slot === undefined) throw new Error("jepsen: no place for another member");
    this.#slotOf.set(name, slot);
    const peerUrl = this.#peerUrl(name);
    for (;;) {
      const members = await this.#members();
      const found = members?.find((member) => member.peerUrls.includes(peerUrl));
      if (found !== undefined) {
        this.#ids.set(name, formatId(found.id));
        break;
      }
      if (members !== undefined) {
        await this.#admin!.members.add([peerUrl], { isLearner: asLearner, timeoutMs: CALL_MS }).catch(() => {});
      }
      if (this.#closed) return;
      await this.#pause(ADMIN_MS);
    }
    this.#joins.add(name);
    this.#names = [...this.#names, name];
    this.start(name);
    for (;;) {
      if (this.#closed) return;
      const running = this.#processes.get(name)?.ready === true;
      if (running && !asLearner) return;
      const found = running
        ? (await this.#members())?.find((member) => formatId(member.id) === this.#ids.get(name))
        : undefined;
      if (found?.isLearner === false) return;
      if (found !== undefined) await this.#admin!.members.promote(found.id, { timeoutMs: CALL_MS }).catch(() => {});
      await this.#pause(ADMIN_MS);
    }
  }

  async #members() {
    return this.#admin!.members.list({ linearizable: true, timeoutMs: CALL_MS }).then(
      ({ members }) => members,
      () => undefined,
    );
  }

  async #compact(): Promise<void> {
    const { header } = await this.#admin!.get("k", { countOnly: true, timeoutMs: CALL_MS });
    const most = Math.min(header.revision, this.compactLimit());
    if (most < 3) return;
    const at = randomInt(this.#o.random, 2, most);
    this.compactedTo = Math.max(this.compactedTo, at);
    await this.#admin!.compact(toRevision(at), { timeoutMs: CALL_MS });
  }

  #change(of: string | undefined, work: (name: string) => Promise<void>): Promise<void> {
    this.#changesUnderWay += 1;
    const done = this.#changes
      .then(() => (of === undefined || this.#names.includes(of) ? work(of ?? "") : undefined))
      .finally(() => {
        this.#changesUnderWay -= 1;
      });
    this.#changes = done;
    return done;
  }

  // --- processes ---

  /** It runs no more; its end is noted under the id by which answers name it (checkers/serializable.ts). */
  #gone(name: string, was: Process, how: string | null): void {
    if (this.#processes.get(name) !== was) return;
    this.#processes.delete(name);
    if (was.child.exitCode === null && was.child.signalCode === null) {
      const ended = new Promise<void>((resolve) => was.child.once("exit", () => resolve()));
      this.#dying.set(
        name,
        ended.then(() => void this.#dying.delete(name)),
      );
    }
    if (this.#paused.delete(name)) was.child.kill("SIGCONT");
    this.#statusOf.delete(name);
    this.#o.note("stop", this.#ids.get(name) ?? "", `${name}, ${how ?? "exit"}`);
    this.#o.onRole(name, "down", 0);
    this.#healthChanged();
  }

  #ended(name: string, was: Process, how: string): void {
    const words = was.said.join("\n");
    if (REMOVED.test(words) && !this.#names.includes(name)) return;
    if (!was.ready && this.#joins.has(name) && foundNobody(words)) {
      // As whoever runs it would: it has no data yet, and nothing was asked of it.
      this.#o.note("ended by a fault", name, "it found nobody to join");
      this.#o.clock.after(JOIN_AGAIN_MS, () => this.start(name));
      return;
    }
    if (FULL.test(words) && this.#everFull.has(name)) {
      this.#o.note("ended by a fault", name, "the disk is full");
      return;
    }
    if (DAMAGE.test(words) && this.#damagedName === name) {
      this.#o.note("ended by a fault", name, was.said.at(-1) ?? "");
      if (!was.ready) this.counters.count("refusal to start");
      void this.replace(name);
      return;
    }
    this.failures.push(`${name} ended (${how}): ${was.said.slice(-6).join(" | ")}`);
  }

  async #poll(): Promise<void> {
    while (!this.#closed) {
      await Promise.all(this.#names.map((name) => this.#ask(name)));
      await this.#pause(STATUS_MS);
    }
  }

  async #ask(name: string): Promise<void> {
    if (this.#processes.get(name)?.ready !== true || this.#paused.has(name)) {
      if (this.#paused.has(name)) this.#o.onRole(name, "paused", this.#statusOf.get(name)?.term ?? 0);
      return;
    }
    const process = this.#processes.get(name);
    try {
      const status = await this.#admin!.status(this.#directUrl(name), { timeoutMs: 500 });
      if (this.#processes.get(name) !== process || !this.#names.includes(name)) return;
      const { leader, raftTerm, raftAppliedIndex, stateHash, header } = status;
      const role = leader === undefined ? "candidate" : leader === header.memberId ? "leader" : "follower";
      this.#statusOf.set(name, { role, term: raftTerm });
      this.#applied.set(name, raftAppliedIndex);
      this.#o.onRole(name, role, raftTerm);
      this.hashes.add({ member: name, time: this.#o.clock.now(), applied: raftAppliedIndex, stateHash });
    } catch {
      this.#statusOf.delete(name); // busy, starting or going down: the next round asks again
    }
  }

  /** The largest set of members that run and reach each other both ways. */
  #healthChanged(): void {
    const able = this.#names.filter(
      (name) => this.#processes.get(name)?.ready === true && !this.#paused.has(name) && !this.#full.has(name),
    );
    let best: readonly string[] = [];
    for (let bits = 0; bits < 1 << able.length; bits++) {
      const some = able.filter((_, i) => (bits >> i) & 1);
      if (some.length <= best.length) continue;
      if (some.every((a) => some.every((b) => a === b || this.#reaches(a, b)))) best = some;
    }
    const quorum = Math.floor(this.#names.length / 2) + 1;
    const text = `${best.join()} ${quorum}`;
    if (text === this.#healthText) return;
    this.#healthText = text;
    this.#o.onHealth(best, quorum);
  }

  #reaches(a: string, b: string): boolean {
    const [from, to] = [this.#key(a), this.#key(b)];
    return !this.proxy.isHeld(from, to) && this.proxy.delayOf(from, to) <= SLOW_MS;
  }

  #ways(): (readonly [string, string])[] {
    return this.#slots.flatMap((a) => this.#slots.filter((b) => a !== b).map((b) => [a.key, b.key] as const));
  }

  #key(name: string): string {
    return this.#slotOf.get(name)?.key ?? name;
  }

  #directUrl(name: string): string {
    return `ws://127.0.0.1:${this.#clientPorts.get(name.split("-", 1)[0]!)!}`;
  }

  #peerUrl(name: string): string {
    return `ws://127.0.0.1:${this.#slotOf.get(name)!.peerPort}`;
  }

  /** A founder's first address, whoever has that slot now. */
  #founderUrl(name: string): string {
    return `ws://127.0.0.1:${this.#slots[this.#founders.indexOf(name)]!.peerPort}`;
  }

  #timeFile(name: string): string {
    return join(this.#o.dir, `${name}.time`);
  }

  #mount(home: string): void {
    if (this.#mounts.includes(home)) return;
    mkdirSync(home, { recursive: true });
    const done = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${DISK_BYTES}`, "quorate-jepsen", home]);
    if (done.status !== 0) throw new Error(`jepsen: cannot mount a small file system: ${String(done.stderr)}`);
    this.#mounts.push(home);
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.#o.clock.after(ms, resolve));
  }
}

/** Whether a member that wanted to join ended because nobody could tell it how. */
export function foundNobody(said: string): boolean {
  return NOBODY.test(said);
}

/** Whether this machine lets us mount a small file system to fill. */
export function canMount(dir: string): boolean {
  const probe = join(dir, "mount-probe");
  mkdirSync(probe, { recursive: true });
  const done = spawnSync("mount", ["-t", "tmpfs", "-o", "size=1m", "quorate-jepsen", probe]);
  if (done.status === 0) spawnSync("umount", [probe]);
  rmSync(probe, { recursive: true, force: true });
  return done.status === 0;
}

function fill(file: string): void {
  const block = Buffer.alloc(1 << 16);
  const handle = openSync(file, "w");
  try {
    for (;;) writeSync(handle, block);
  } catch {
    // Full, which was the aim.
  } finally {
    closeSync(handle);
  }
}

/** Changes one byte of one file below `dir`. */
function flipByte(dir: string, random: RandomSource): string {
  if (!existsSync(dir)) return "nothing there";
  const files = readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((file) => statSync(file).size > 0 && !/LOCK$|LOG(\.old)?$/.test(file));
  if (files.length === 0) return "nothing there";
  const file = files[randomInt(random, 0, files.length - 1)]!;
  const at = randomInt(random, 0, statSync(file).size - 1);
  const handle = openSync(file, "r+");
  const byte = Buffer.alloc(1);
  readSync(handle, byte, 0, 1, at);
  byte[0] = byte[0]! ^ (1 << randomInt(random, 0, 7));
  writeSync(handle, byte, 0, 1, at);
  closeSync(handle);
  return `${file.slice(dir.length + 1)} byte ${at}`;
}
