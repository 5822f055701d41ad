/** The flags that every client command shares, and the client they lead to. */
import { type Command, InvalidArgumentError, Option } from "commander";
import type { Client } from "../client/client.ts";
import { Ended, EXIT, fail } from "./exit.ts";

export const DEFAULT_ENDPOINTS = "127.0.0.1:7400,127.0.0.1:7402,127.0.0.1:7404";
export const FORMATS = ["simple", "json", "fields", "table"] as const;
export type Format = (typeof FORMATS)[number];

export interface Globals {
  readonly endpoints: readonly string[];
  readonly format: Format;
  readonly hex: boolean;
  readonly dialTimeoutMs: number;
  readonly commandTimeoutMs: number;
}

/** What a call is given: the time it may take and the Ctrl-C that ends it. */
export interface Call {
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

const UNITS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** Go's way of writing durations, as etcdctl's flags take them: 5s, 500ms, 1m30s. Milliseconds out. */
export function parseDuration(text: string): number {
  if (!/^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$/.test(text)) {
    throw new InvalidArgumentError("Write a duration such as 5s, 500ms or 1m30s.");
  }
  let total = 0;
  for (const [, amount, , unit] of text.matchAll(/([0-9]+(\.[0-9]+)?)(ms|s|m|h)/g))
    total += Number(amount) * UNITS[unit!]!;
  if (total <= 0) throw new InvalidArgumentError("A duration must be longer than zero.");
  return total;
}

/** A whole number, written plainly, from `min` on. */
export function wholeNumber(min: number, max: number = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^-?[0-9]+$/.test(text) || !Number.isSafeInteger(value) || value < min || value > max) {
      throw new InvalidArgumentError(
        max === Number.MAX_SAFE_INTEGER
          ? `Give a whole number from ${min} on.`
          : `Give a whole number from ${min} to ${max}.`,
      );
    }
    return value;
  };
}

export function commaList(text: string): readonly string[] {
  const items = text.split(",").map((item) => item.trim());
  if (items.some((item) => item === ""))
    throw new InvalidArgumentError("Give a comma-separated list without empty items.");
  return items;
}

export function addGlobalOptions(program: Command): void {
  program
    .addOption(
      new Option("--endpoints <list>", "members to talk to, host:port separated by commas")
        .env("QUORATE_ENDPOINTS")
        .argParser(commaList)
        .default(DEFAULT_ENDPOINTS.split(","), DEFAULT_ENDPOINTS),
    )
    .addOption(
      new Option("-w, --write-out <format>", "output format: simple, json, fields, table")
        .env("QUORATE_WRITE_OUT")
        .default("simple"),
    )
    .addOption(new Option("--hex", "print bytes as \\x61\\x62 and ids as hexadecimal text").env("QUORATE_HEX"))
    .addOption(
      new Option("--dial-timeout <duration>", "time to reach a member")
        .env("QUORATE_DIAL_TIMEOUT")
        .argParser(parseDuration)
        .default(2_000, "2s"),
    )
    .addOption(
      new Option("--command-timeout <duration>", "time for one request")
        .env("QUORATE_COMMAND_TIMEOUT")
        .argParser(parseDuration)
        .default(5_000, "5s"),
    );
}

export function globalsOf(command: Command): Globals {
  const all = command.optsWithGlobals();
  const format = String(all.writeOut);
  // etcdctl's text and code for a format that it does not know.
  if (!(FORMATS as readonly string[]).includes(format))
    fail("badFeature", `unsupported output format "${format}" (simple, json, fields or table)`);
  return {
    endpoints: all.endpoints as readonly string[],
    format: format as Format,
    hex: all.hex === true,
    dialTimeoutMs: Number(all.dialTimeout),
    commandTimeoutMs: Number(all.commandTimeout),
  };
}

/**
 * Runs with a client and closes it. Ctrl-C aborts the call under way and ends the command with etcdctl's code for it. So
 * does a reader of its output that leaves, such as `head`: without a word, for nobody is to blame.
 */
export async function withClient<T>(
  globals: Globals,
  use: (client: Client, call: Call) => Promise<T>,
  endpoints: readonly string[] = globals.endpoints,
): Promise<T> {
  const interrupt = new AbortController();
  const onSignal = (): void => interrupt.abort();
  let isUnread = false;
  const onUnread = (): void => {
    isUnread = true;
    interrupt.abort();
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  process.stdout.on("error", onUnread);
  try {
    const { connect } = await import("../node/connect.ts");
    // As etcdctl: a registration for one write would cost a second entry of the log, and stay for minutes.
    const client = await connect({ endpoints, dialTimeoutMs: globals.dialTimeoutMs, exactlyOnce: false });
    let result: T;
    try {
      result = await use(client, { timeoutMs: globals.commandTimeoutMs, signal: interrupt.signal });
    } finally {
      await client.close();
    }
    if (isUnread) throw new Ended(EXIT.unread);
    return result;
  } catch (error) {
    if (isUnread) throw new Ended(EXIT.unread);
    // A command that was run has its own end, whatever ended it.
    if (interrupt.signal.aborted && !(error instanceof Ended)) fail("interrupted", "interrupted");
    throw error;
  } finally {
    process.off("SIGINT", onSignal);
    process.off("SIGTERM", onSignal);
    process.stdout.off("error", onUnread);
  }
}

/** All of stdin, for a value or a txn that was not given as an argument. */
export async function readStdin(): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  } catch (error) {
    fail("io", `cannot read stdin: ${(error as Error).message}`);
  }
  return Buffer.concat(chunks);
}

/** Help text that shows a command at work. */
export function example(...lines: readonly string[]): string {
  return `\nExample:\n${lines.map((line) => `  ${line}`).join("\n")}`;
}
