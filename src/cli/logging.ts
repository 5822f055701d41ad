/** Logs go to stderr: one JSON object a line for machines, one readable line on a terminal. Quiet unless asked. */
import { styleText } from "node:util";
import type * as pinoModule from "pino";
import type { Logger } from "../platform/log.ts";
import { requireCommonJs } from "../platform/node/common-js.ts";
import type { LogLevel } from "./config.ts";

const { pino } = requireCommonJs("pino") as typeof pinoModule;

const COLOURS = { debug: "gray", info: "green", warn: "yellow", error: "red", fatal: "red" } as const;
type Shown = keyof typeof COLOURS;

/** `12:34:56.789 WARN n1 the message key=value` from one line of pino's. */
export function readable(line: string, colour: boolean): string {
  const { level, time, name, msg, err, ...rest } = JSON.parse(line) as Record<string, unknown>;
  const label = String(level) as Shown;
  const shown = label.toUpperCase().padEnd(5);
  const clock = new Date(Number(time)).toISOString().slice(11, 23);
  const facts = Object.entries(rest).map(
    ([key, value]) => ` ${key}=${typeof value === "string" ? value : JSON.stringify(value)}`,
  );
  const reason = err === undefined ? "" : ` err=${JSON.stringify((err as { message?: string }).message ?? err)}`;
  return `${clock} ${colour ? styleText(COLOURS[label] ?? "white", shown) : shown} ${name} ${msg}${facts.join("")}${reason}\n`;
}

export function createLogger(level: LogLevel, name: string): Logger {
  const terminal = process.stderr.isTTY === true;
  const colour = terminal && process.env.NO_COLOR === undefined;
  return pino(
    {
      level,
      base: { name },
      formatters: { level: (label) => ({ level: label }) },
      serializers: { error: pino.stdSerializers.err },
    },
    { write: (line: string) => void process.stderr.write(terminal ? readable(line, colour) : line) },
  );
}
