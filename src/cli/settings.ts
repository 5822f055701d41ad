/** The flags by which `cluster` and `server` override the file, each also an environment variable. */
import { type Command, Option } from "commander";
import type { AutoCompactionMode } from "../server/auto-compactor.ts";
import type { ClusterOverrides, LogLevel, SharedNumber } from "./config.ts";
import { commaList, wholeNumber } from "./globals.ts";

const LEVELS: readonly LogLevel[] = ["debug", "info", "warn", "error", "silent"];

const NUMBERS: readonly (readonly [SharedNumber, string])[] = [
  ["tickMs", "milliseconds between two ticks of the consensus clock (20)"],
  ["heartbeatMs", "milliseconds between two heartbeats (100)"],
  ["electionTimeoutMs", "milliseconds without a leader until a member campaigns (1000)"],
  ["maxRequestBytes", "largest request in bytes (1572864)"],
  ["maxTxnOps", "most operations in one transaction (128)"],
  ["flushIntervalMs", "milliseconds between two flushes of the state (1000)"],
  ["flushBytes", "bytes of changed state that force a flush (8388608)"],
  ["trailingEntries", "log entries kept for slow members (5000)"],
  ["trailingBytes", "bytes of log kept for slow members (16777216)"],
  ["maxPendingProposals", "proposals held before TOO_MANY_REQUESTS (50000)"],
  ["maxPendingBytes", "bytes of proposals held before TOO_MANY_REQUESTS (134217728)"],
  ["maxWatchers", "watchers of one member before TOO_MANY_REQUESTS (262144)"],
  ["quotaBytes", "bytes of the state above which writes are refused (0: 2 GiB; -1: no quota)"],
];
/** Lowest value, where it is not 1. */
const LEAST: Readonly<Partial<Record<SharedNumber, number>>> = { quotaBytes: -1 };
const MODES: readonly AutoCompactionMode[] = ["periodic", "revision"];

const kebab = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
/** `--base-port` is QUORATE_BASE_PORT, and so on for every flag. */
export const environmentName = (flag: string): string => `QUORATE_${flag.toUpperCase().replaceAll("-", "_")}`;

export function setting(flag: string, value: string, description: string): Option {
  return new Option(`--${flag} ${value}`, description).env(environmentName(flag));
}

export function addSettings(command: Command): Command {
  command
    .addOption(setting("config", "<file>", "cluster.config.json to read; flags and environment go before it"))
    .addOption(setting("token", "<text>", 'tells clusters apart; ids follow from it ("quorate-cluster")'))
    .addOption(setting("secret-file", "<file>", "file that holds the cluster secret"))
    .addOption(setting("allowed-origins", "<list>", "web origins whose pages may connect (none)").argParser(commaList))
    .addOption(setting("log-level", "<level>", "debug, info, warn, error or silent (warn)").choices(LEVELS));
  for (const [name, description] of NUMBERS) {
    command.addOption(setting(kebab(name), "<n>", description).argParser(wholeNumber(LEAST[name] ?? 1)));
  }
  command
    .addOption(
      setting("auto-compaction-mode", "<mode>", "forget old revisions by time or by number (periodic)").choices(MODES),
    )
    .addOption(
      setting(
        "auto-compaction-retention",
        "<n>",
        'what is kept: hours or "10m"; with mode revision how many revisions; 0: compact on request only (1)',
      ),
    );
  return command;
}

/** What `addSettings` read, in the shape in which it meets the file. */
export function settingsOf(options: Record<string, unknown>): ClusterOverrides {
  const numbers: Partial<Record<SharedNumber, number>> = {};
  for (const [name] of NUMBERS) if (options[name] !== undefined) numbers[name] = options[name] as number;
  return {
    config: options.config as string | undefined,
    token: options.token as string | undefined,
    secretFile: options.secretFile as string | undefined,
    allowedOrigins: options.allowedOrigins as readonly string[] | undefined,
    logLevel: options.logLevel as LogLevel | undefined,
    numbers,
    autoCompactionMode: options.autoCompactionMode as AutoCompactionMode | undefined,
    autoCompactionRetention: options.autoCompactionRetention as string | undefined,
  };
}
