/** Watches of the command line: which keys, what is printed, what is run. */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { Command, CommanderError } from "commander";
import { encodeUtf8 } from "../base/bytes.ts";
import { StoreError } from "../base/errors.ts";
import type { Client } from "../client/client.ts";
import type { Watch, WatchBatch } from "../client/watch.ts";
import { addWatchFlags, type WatchFlags } from "./commands/watch.ts";
import { CommandError, Ended, EXIT, fail } from "./exit.ts";
import { type Call, type Globals, withClient } from "./globals.ts";
import { quote, quoteText } from "./go-quote.ts";
import { formatWatch } from "./output.ts";
import { keyArguments } from "./range.ts";

/** What to watch, and what to run for each event. */
export interface Watching {
  readonly words: readonly string[];
  readonly run: readonly string[];
  readonly flags: WatchFlags;
}

const KEY = "QUORATE_WATCH_KEY";
const RANGE_END = "QUORATE_WATCH_RANGE_END";

export async function watchOnce(
  globals: Globals,
  given: readonly string[],
  flags: WatchFlags,
  argv: readonly string[],
): Promise<void> {
  // The parser hands over what stands behind "--" with the rest.
  const dashes = argv.indexOf("--");
  const run = dashes < 0 ? [] : argv.slice(dashes + 1);
  let words = given.slice(0, given.length - run.length);
  const key = process.env[KEY];
  if (key !== undefined && words.length > 0) {
    fail("badArguments", `key and range_end come from the environment (${KEY}) or as arguments, not both`);
  }
  if (key !== undefined) words = process.env[RANGE_END] === undefined ? [key] : [key, process.env[RANGE_END]];
  const watching = { words, run, flags };
  check(watching);
  await reachable(globals, async (client, { signal }) => {
    await follow(globals, open(client, watching, signal), run);
  });
}

/** Reads watches from stdin until it ends; each goes on until then. */
export async function watchInteractively(globals: Globals): Promise<void> {
  await reachable(globals, async (client, { signal }) => {
    const watches: Watch[] = [];
    const input = createInterface({ input: process.stdin });
    signal.addEventListener("abort", () => input.close(), { once: true });
    let failure: unknown;
    for await (const line of input) {
      const words = splitLine(line);
      if (words.length === 0) continue;
      if (words.length === 1 && words[0] === "progress") {
        for (const watch of watches) watch.requestProgress();
        continue;
      }
      let watching: Watching;
      let watch: Watch;
      try {
        watching = parseLine(words);
        check(watching);
        watch = open(client, watching, signal);
      } catch (error) {
        if (!(error instanceof CommandError || error instanceof CommanderError || StoreError.is(error))) throw error;
        process.stderr.write(`Invalid command ${line} (${error.message.replace(/^error: /, "")})\n`);
        continue;
      }
      watches.push(watch);
      follow(globals, watch, watching.run).catch((error) => {
        failure ??= error;
        input.close();
      });
    }
    if (failure !== undefined) throw failure;
    if (!signal.aborted) fail("invalidInput", "error reading watch request line: EOF");
  });
}

/** `watch [flags] key [range_end] [-- command args]`. Throws an error that says what is wrong. */
export function parseLine(words: readonly string[]): Watching {
  if (words.length < 2) fail("badArguments", "command type or key is not provided");
  if (words[0] !== "watch") fail("badArguments", "only support watch");
  const dashes = words.indexOf("--");
  const run = dashes < 0 ? [] : words.slice(dashes + 1);
  const command = addWatchFlags(new Command("watch"))
    .argument("[words...]")
    .exitOverride()
    .helpOption(false)
    .configureOutput({ outputError: () => {} });
  command.parse(words.slice(1, dashes < 0 ? undefined : dashes), { from: "user" });
  return { words: command.args, run, flags: command.opts<WatchFlags>() };
}

/** Words, with quotes as a shell has them: within "" a backslash escapes, within '' nothing does. */
export function splitLine(line: string): readonly string[] {
  const words: string[] = [];
  for (const [word] of line.matchAll(/(?:"(?:[^"\\]|\\.)*"|'[^']*'|[^\s"'])+/g)) {
    words.push(
      word.replace(/"((?:[^"\\]|\\.)*)"|'([^']*)'/g, (_, double?: string, single?: string) =>
        double === undefined ? (single ?? "") : double.replace(/\\(.)/g, "$1"),
      ),
    );
  }
  return words;
}

function check({ words, run, flags }: Watching): void {
  if (words.length === 0)
    fail("badArguments", "watch takes a key: `quorate watch greeting`, or `-i` to type watches in");
  if (words.length > 2) fail("badArguments", "too many arguments: a key and a range_end; a command goes behind --");
  if (words.length === 2 && flags.prefix === true) {
    fail("badArguments", "`range_end` and `--prefix` cannot be set at the same time, choose one");
  }
  if (run[0] === "") fail("badArguments", "the command behind -- is empty");
}

function open(client: Client, { words: [key = "", rangeEnd], flags }: Watching, signal: AbortSignal): Watch {
  const range = keyArguments("watch", key, rangeEnd, { prefix: flags.prefix });
  return client.watch(range.key, {
    rangeEnd: range.rangeEnd,
    startRevision: flags.rev,
    prevKv: flags.prevKv,
    progressNotify: flags.progressNotify,
    signal,
  });
}

async function follow(globals: Globals, watch: Watch, run: readonly string[]): Promise<void> {
  try {
    for await (const batch of watch) {
      if (batch.events.length === 0) process.stdout.write(`progress notify: ${batch.revision}\n`);
      process.stdout.write(formatWatch(batch, { format: globals.format, hex: globals.hex }));
      if (run.length > 0) await runFor(batch, run);
    }
  } catch (error) {
    // The caller's own Ctrl-C, and what the command itself has to say.
    if (!StoreError.is(error) || error.code === "CANCELLED") throw error;
    process.stderr.write(`watch was canceled (${error.message})\n`);
    fail("interrupted", "watch is canceled by the server");
  }
}

/** One after the other, so that their order is the events'. */
async function runFor({ header, events }: WatchBatch, [file = "", ...args]: readonly string[]): Promise<void> {
  for (const { type, kv } of events) {
    const child = spawn(file, args, {
      stdio: "inherit",
      env: {
        ...process.env,
        ETCD_WATCH_REVISION: String(header.revision),
        ETCD_WATCH_EVENT_TYPE: quoteText(type === "put" ? "PUT" : "DELETE"),
        ETCD_WATCH_KEY: quote(kv.key),
        ETCD_WATCH_VALUE: quote(kv.value),
      },
    });
    const failure = await new Promise<string | undefined>((resolve) => {
      child.once("error", (error) => resolve(error.message));
      child.once("exit", (code, signal) => {
        resolve(code === 0 ? undefined : signal === null ? `exit status ${code}` : `signal: ${signal}`);
      });
    });
    if (failure === undefined) continue;
    process.stderr.write(`command ${quoteText([file, ...args].join(" "))} error (${failure})\n`);
    throw new Ended(EXIT.error);
  }
}

/** A watch waits for its cluster as long as it takes; whoever types an address wrong should hear of it. */
function reachable(globals: Globals, use: (client: Client, call: Call) => Promise<void>): Promise<void> {
  if (globals.format === "table") fail("badFeature", "table not supported as output format");
  return withClient(globals, async (client, call) => {
    await client.request({ kind: "range", key: encodeUtf8("\0"), limit: 1, keysOnly: true, serializable: true }, call);
    await use(client, call);
  });
}
