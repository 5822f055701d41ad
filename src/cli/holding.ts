/** Locks and elections of the command line: held until Ctrl-C, the end of a command, or the loss of the session. */
import { spawn } from "node:child_process";
import { StoreError } from "../base/errors.ts";
import type { Client } from "../client/client.ts";
import { Election, observeElection } from "../concurrency/election.ts";
import { Mutex } from "../concurrency/mutex.ts";
import { Session } from "../concurrency/session.ts";
import { CommandError, Ended, EXIT, fail } from "./exit.ts";
import { type Call, type Globals, withClient } from "./globals.ts";
import { print } from "./print.ts";

const ELECTION_TTL = 60;

export async function holdLock(globals: Globals, name: string, words: readonly string[], ttl: number): Promise<void> {
  if (name === "") fail("badArguments", "a lock needs a name");
  if (words[0] === "") fail("badArguments", "the command to run is empty");
  await holding(globals, ttl, "session expired", async (client, session, { signal, timeoutMs }) => {
    const mutex = new Mutex(session, name);
    await mutex.lock({ signal });
    try {
      if (words.length > 0) await runLocked(mutex, words);
      else {
        await show(globals, client, mutex.key, "lock lost on init", timeoutMs);
        await untilOver(signal, session);
      }
    } catch (error) {
      // What went wrong says more than a failure to unlock, which the end of the session makes good.
      if (!session.signal.aborted) await mutex.unlock().catch(() => {});
      throw error;
    }
    if (!session.signal.aborted) await mutex.unlock();
  });
}

export async function campaign(globals: Globals, name: string, proposal: string): Promise<void> {
  if (name === "") fail("badArguments", "an election needs a name");
  await holding(globals, ELECTION_TTL, "elect: session expired", async (client, session, { signal, timeoutMs }) => {
    const election = new Election(session, name);
    await election.campaign(proposal, { signal });
    await show(globals, client, election.key, "elect: session expired", timeoutMs);
    await untilOver(signal, session);
    if (!session.signal.aborted) await election.resign();
  });
}

export async function listenTo(globals: Globals, name: string): Promise<void> {
  if (name === "") fail("badArguments", "an election needs a name");
  if (globals.format === "table") fail("badFeature", "table not supported as output format");
  await withClient(globals, async (client, { signal, timeoutMs }) => {
    await reach(client, name, { signal, timeoutMs });
    try {
      for await (const { header, kv } of observeElection(client, name, { signal })) {
        const { revision } = header;
        print(globals, { header, result: { kind: "range", revision, kvs: [kv], more: false, count: 1 } });
      }
    } catch (error) {
      // As in etcdctl, Ctrl-C is how one stops to listen.
      if (!signal.aborted) throw error;
    }
  });
}

/** With a session that is closed at the end; its loss ends the command by this text. */
async function holding(
  globals: Globals,
  ttl: number,
  expired: string,
  use: (client: Client, session: Session, call: Call) => Promise<void>,
): Promise<void> {
  if (globals.format === "table") fail("badFeature", "table not supported as output format");
  await withClient(globals, async (client, call) => {
    await using session = await Session.open(client, { ttl, ...call });
    try {
      await use(client, session, call);
      if (session.signal.aborted) fail("error", expired);
    } catch (error) {
      if (StoreError.is(error, "SESSION_LOST")) throw new CommandError("error", expired);
      throw error;
    }
  });
}

/** The key that is held, in the shape of a `get`. */
async function show(globals: Globals, client: Client, key: Uint8Array, lost: string, timeoutMs: number): Promise<void> {
  const response = await client.request({ kind: "range", key }, { timeoutMs });
  if (response.result.kvs.length === 0) fail("error", lost);
  print(globals, response);
}

/** Resolves on Ctrl-C, or when the session is lost. */
function untilOver(signal: AbortSignal, session: Session): Promise<void> {
  return new Promise((resolve) => {
    for (const each of [signal, session.signal]) {
      if (each.aborted) resolve();
      else each.addEventListener("abort", () => resolve(), { once: true });
    }
  });
}

/** Runs the command; ends it where the lock is lost, as another may hold it then. */
async function runLocked(mutex: Mutex, [file = "", ...args]: readonly string[]): Promise<void> {
  const child = spawn(file, args, {
    stdio: "inherit",
    env: {
      ...process.env,
      ETCD_LOCK_KEY: new TextDecoder().decode(mutex.key),
      ETCD_LOCK_REV: String(mutex.header?.revision),
    },
  });
  const { session } = mutex;
  const stop = (): void => void child.kill("SIGTERM");
  session.signal.addEventListener("abort", stop, { once: true });
  // A Ctrl-C reaches the command as well; a SIGTERM is for this process alone.
  process.on("SIGTERM", stop);
  const ended = await new Promise<number | string>((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("exit", (code, by) => resolve(code ?? `signal: ${by}`));
  });
  process.off("SIGTERM", stop);
  session.signal.removeEventListener("abort", stop);
  if (session.signal.aborted) return;
  if (typeof ended === "string") fail("error", ended);
  if (ended !== EXIT.ok) throw new Ended(ended);
}

/** Who listens waits for as long as it takes; whoever types an address wrong should hear of it. */
async function reach(client: Client, name: string, call: Call): Promise<void> {
  await client.get(`${name}/`, { prefix: true, limit: 1, keysOnly: true, serializable: true, ...call });
}
