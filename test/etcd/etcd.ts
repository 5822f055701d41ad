/** A real etcd of one member, in a process and a directory of its own. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { accessSync, constants, mkdtempSync, rmSync, statfsSync } from "node:fs";
import { Agent, request as httpRequest } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { WebSocket } from "ws";
import type { Answer, CallRequest, Side, WatchFeed } from "./answer.ts";
import { Mailbox } from "./feed.ts";
import { answerOfGateway, bodyOf, pathOf, WATCH_PATH, watchBodyOf, watchMessageOfGateway } from "./gateway.ts";

/** The binary to run: `ETCD_BIN`, or Debian's (package etcd-server). `undefined` if it does not run. */
export function findEtcd(): string | undefined {
  const given = process.env.ETCD_BIN ?? "etcd";
  // It will run elsewhere.
  const binary = given.includes("/") ? resolve(given) : given;
  return spawnSync(binary, ["--version"], { stdio: "ignore" }).status === 0 ? binary : undefined;
}

/** A name in etcd's working directory instead of a port: nobody else can have it. */
const SOCKET = "etcd:0";
const ATTEMPTS_MAX = 3_000;
const SPACE_MIN = 2 ** 31;
const CALL_TIMEOUT_MS = 60_000;
/** Its last words, for the error that tells of its end. */
const LOG_CHARS_MAX = 4_000;

/** The shell ends etcd and removes its data when its own input ends, as it does with this process, however that dies. */
const GUARD = '"$0" "$@" </dev/null & etcd=$!; read -r _; kill -9 "$etcd"; wait; rm -rf data etcd:0';
/** etcd must be given addresses for peers. It has none, so those that it only tells others name nothing. */
const FLAGS = [
  ...["--data-dir", "data", "--logger", "zap", "--log-level", "error"],
  ...["--listen-client-urls", `unix://${SOCKET}`, "--advertise-client-urls", "http://127.0.0.1:1"],
  ...["--listen-peer-urls", "http://127.0.0.1:0", "--initial-advertise-peer-urls", "http://127.0.0.1:1"],
  ...["--initial-cluster", "default=http://127.0.0.1:1"],
];

export class Etcd implements Side {
  readonly #guard: ChildProcess;
  readonly #ended: Promise<void>;
  readonly #dir: string;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });
  #log = "";
  #version = "";

  private constructor(binary: string) {
    this.#dir = mkdtempSync(join(fastDirectory(), "quorate-etcd-"));
    this.#guard = spawn("/bin/sh", ["-c", GUARD, binary, ...FLAGS], {
      cwd: this.#dir,
      stdio: ["pipe", "pipe", "pipe"],
      env: {
        // Its settings are these alone.
        ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("ETCD_"))),
        // It has little to do at a time and little to keep: threads that look for work and a busy collector cost a fifth.
        GOMAXPROCS: "1",
        GOGC: "800",
      },
    });
    this.#ended = new Promise((resolve) => this.#guard.once("close", () => resolve()));
    for (const output of [this.#guard.stdout, this.#guard.stderr]) {
      output?.on("data", (text) => (this.#log = (this.#log + text).slice(-LOG_CHARS_MAX)));
    }
  }

  /** Resolves once it serves. */
  static async start(binary: string): Promise<Etcd> {
    const etcd = new Etcd(binary);
    try {
      for (let attempts = 1; ; attempts++) {
        const health = await etcd.#http("GET", "/health").catch((error: Error) => error.message);
        if (health.includes('"true"')) break;
        if (attempts >= ATTEMPTS_MAX) throw new Error(`etcd did not come up: ${health}`);
        // The one thing that tells from outside that another program has come up, in each of its versions.
        await pause(10);
      }
      etcd.#version = (JSON.parse(await etcd.#http("GET", "/version")) as { etcdserver: string }).etcdserver;
      return etcd;
    } catch (error) {
      await etcd[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Such as "3.4.23". */
  get version(): string {
    return this.#version;
  }

  async ask(request: CallRequest): Promise<Answer> {
    const answer = answerOfGateway(request, await this.#http("POST", pathOf(request), bodyOf(request)));
    if (answer.kind === "refused" && !REFUSALS.includes(answer.code)) {
      throw new Error(`etcd is in trouble, not answering: ${answer.message} (${answer.code})`);
    }
    return answer;
  }

  /** The gateway takes a stream's requests one by one only over a WebSocket: each a message, as are the answers. */
  async watch(): Promise<WatchFeed> {
    const mailbox = new Mailbox();
    const socket = new WebSocket(`ws://etcd${WATCH_PATH}`, {
      createConnection: () => connect(join(this.#dir, SOCKET)),
      perMessageDeflate: false,
      handshakeTimeout: CALL_TIMEOUT_MS,
    });
    socket.on("message", (line) => {
      try {
        mailbox.put(watchMessageOfGateway(String(line)));
      } catch (error) {
        mailbox.fail(error);
      }
    });
    const closed = (why: string): void => mailbox.fail(new Error(`etcd: the watch stream ended: ${why}\n${this.#log}`));
    await new Promise<void>((resolve, reject) => {
      socket.once("open", resolve);
      socket.on("error", (error) => {
        reject(error);
        closed(error.message);
      });
      socket.once("close", (code) => closed(`code ${code}`));
    });
    return {
      request: (request) => socket.send(JSON.stringify(watchBodyOf(request))),
      next: () => mailbox.take(),
      close: () => {
        mailbox.fail(new Error("closed"));
        socket.terminate();
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#agent.destroy();
    this.#guard.stdin?.end();
    await this.#ended;
    rmSync(this.#dir, { recursive: true, force: true });
  }

  #http(method: string, path: string, body?: object): Promise<string> {
    return new Promise((resolve, reject) => {
      const failed = (error: Error): void =>
        reject(new Error(`etcd: ${method} ${path}: ${error.message}\n${this.#log}`, { cause: error }));
      const socketPath = join(this.#dir, SOCKET);
      const call = httpRequest({ agent: this.#agent, socketPath, method, path, timeout: CALL_TIMEOUT_MS }, (reply) => {
        let text = "";
        reply.setEncoding("utf8");
        reply.on("data", (part) => (text += part));
        reply.on("error", failed);
        reply.on("end", () => resolve(text));
      });
      call.on("timeout", () => call.destroy(new Error("no answer")));
      call.on("error", failed);
      call.end(body && JSON.stringify(body));
    });
  }
}

/** INVALID_ARGUMENT, NOT_FOUND, FAILED_PRECONDITION, OUT_OF_RANGE: it certainly did not happen (etcd-semantics 9.5). */
const REFUSALS: readonly number[] = [3, 5, 9, 11];

/** In memory where there is room: what a disk promises is not in question here. etcd takes 64 MiB at a time for its log. */
function fastDirectory(): string {
  try {
    accessSync("/dev/shm", constants.W_OK);
    const { bavail, bsize } = statfsSync("/dev/shm");
    return bavail * bsize >= SPACE_MIN ? "/dev/shm" : tmpdir();
  } catch {
    return tmpdir();
  }
}
