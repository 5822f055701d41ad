/**
 * One member as a process: opens it, says that it is ready, and ends it well. Run by hand it obeys signals; under the
 * launcher it obeys the launcher, and ends when the launcher is gone.
 */
import type { NodeOptions } from "../node/node.ts";
import type { LogLevel } from "./config.ts";
import { Ended, errorLine, exitCodeOf } from "./exit.ts";

/** What a member tells the launcher, and prints with `--json`. */
export interface MemberReady {
  readonly event: "ready";
  readonly name: string;
  /** Hexadecimal, as everywhere in the command line. */
  readonly id: string;
  readonly pid: number;
  readonly clientUrl: string;
  readonly peerUrl: string;
  readonly dir: string;
}

export interface MemberFailed {
  readonly event: "failed";
  readonly name: string;
  readonly message: string;
  readonly exitCode: number;
}

/** From the launcher. `handOver: false` for the last member standing, which has nobody to hand over to. */
export interface StopMember {
  readonly command: "stop";
  readonly handOver: boolean;
}

export interface MemberRun {
  readonly node: Omit<NodeOptions, "log">;
  readonly name: string;
  readonly logLevel: LogLevel;
  readonly json: boolean;
  /** Started by the launcher, which listens on the other end of the channel that `process.send` writes to. */
  readonly launched: boolean;
}

/** A launcher that died leaves nobody to wait for: a member that cannot close by then just ends. */
const ORPHAN_CLOSE_MS = 5_000;

type Stop = { readonly handOver: boolean; readonly orphan?: boolean };

/** Runs until it is told to stop (returns) or the member fails (throws). */
export async function runMember(run: MemberRun): Promise<void> {
  const { launched } = run;
  let stop: (how: Stop) => void = () => {};
  const stopped = new Promise<Stop>((resolve) => {
    stop = resolve;
  });
  listen(launched, (how) => stop(how));

  try {
    await openAndServe(run, stopped);
  } catch (error) {
    if (!launched || !process.connected) throw error;
    // The launcher prints it, with the member's name, so that it appears once.
    const failed: MemberFailed = {
      event: "failed",
      name: run.name,
      message: errorLine(error).replace(/^Error: /, ""),
      exitCode: exitCodeOf(error),
    };
    await new Promise<void>((resolve) => process.send?.(failed, () => resolve()));
    throw new Ended(failed.exitCode);
  }
}

async function openAndServe(run: MemberRun, stopped: Promise<Stop>): Promise<void> {
  const [
    { Node },
    { createLogger },
    { formatId },
    { giveBackAtRest, v8Engine },
    { giveRoom, v8Collections },
    { NodeClock },
  ] = await Promise.all([
    import("../node/node.ts"),
    import("./logging.ts"),
    import("../base/ids.ts"),
    import("../platform/node/rest.ts"),
    import("../platform/node/room.ts"),
    import("../platform/node/clock.ts"),
  ]);
  const waiting = new AbortController();
  const opening = Node.open({
    ...run.node,
    log: createLogger(run.logLevel, run.name),
    signal: waiting.signal,
  });
  const first = await Promise.race([opening.then((node) => ({ node })), stopped.then(() => undefined)]);
  if (first === undefined) {
    // Told to stop while still waiting for the others: nothing was acknowledged, so there is nothing to hand over.
    waiting.abort();
    const late = await opening.catch(() => undefined);
    await late?.close({ handOver: false });
    return;
  }

  const { node } = first;
  const ready: MemberReady = {
    event: "ready",
    name: run.name,
    id: formatId(node.id),
    pid: process.pid,
    clientUrl: node.clientUrl ?? "",
    peerUrl: node.peerUrl ?? "",
    dir: run.node.dir ?? "",
  };
  if (run.launched) process.send?.(ready);
  else if (run.json) process.stdout.write(`${JSON.stringify(ready)}\n`);
  else process.stderr.write(`${run.name} ready: clients ${ready.clientUrl}, peers ${ready.peerUrl}\n`);

  const engine = v8Engine();
  const rest = engine === undefined ? undefined : giveBackAtRest(new NodeClock(), engine);
  const collections = v8Collections();
  const room = giveRoom(new NodeClock(), collections);
  const end = await Promise.race([stopped.then((how) => ({ how })), node.onStopped.then((error) => ({ error }))]);
  rest?.cancel();
  room.cancel();
  collections.close();
  if ("error" in end) {
    if (end.error !== undefined) throw end.error;
    return;
  }
  if (end.how.orphan === true) setTimeout(() => process.exit(1), ORPHAN_CLOSE_MS).unref();
  await node.close({ handOver: end.how.handOver });
}

/** Turns signals and the launcher's words into one call of `stop`. */
function listen(launched: boolean, stop: (how: Stop) => void): void {
  if (launched) {
    // A Ctrl-C in the terminal reaches the whole process group; the launcher decides what it means for its members.
    process.on("SIGINT", () => {});
    process.on("SIGTERM", () => stop({ handOver: true }));
    process.on("message", (message) => {
      const { command, handOver } = message as StopMember;
      if (command === "stop") stop({ handOver });
    });
    const orphaned = () => stop({ handOver: false, orphan: true });
    process.on("disconnect", orphaned);
    if (!process.connected) orphaned();
    return;
  }
  const signalled = signalCounter(
    () => stop({ handOver: true }),
    (exitCode) => process.exit(exitCode),
  );
  process.on("SIGINT", () => signalled("SIGINT"));
  process.on("SIGTERM", () => signalled("SIGTERM"));
}

/**
 * The first signal stops, the second kills. npm passes a terminal's Ctrl-C on to a process that has already had it,
 * so what comes within half a second of the first is the same wish.
 */
export function signalCounter(
  stop: () => void,
  kill: (exitCode: number) => void,
): (signal: "SIGINT" | "SIGTERM") => void {
  let firstAt: number | undefined;
  return (signal) => {
    if (firstAt === undefined) {
      firstAt = performance.now();
      stop();
    } else if (performance.now() - firstAt > 500) {
      kill(signal === "SIGINT" ? 130 : 143);
    }
  };
}
