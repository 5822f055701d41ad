#!/usr/bin/env node
/** The `quorate` command: reads arguments, runs one command, ends with its exit code. Data on stdout, messages on stderr. */
import { CommanderError } from "commander";
import { EXIT, errorLine, exitCodeOf } from "./exit.ts";
import { buildProgram } from "./program.ts";

async function run(args: readonly string[]): Promise<number> {
  try {
    await buildProgram().parseAsync([...args], { from: "user" });
    return EXIT.ok;
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0 || error.code === "commander.help") return EXIT.ok;
      const text = error.message.replace(/^error: /, "").replace(/\s*\n\s*/g, " ");
      process.stderr.write(`Error: ${text} (see quorate --help)\n`);
      return EXIT.badArguments;
    }
    const code = exitCodeOf(error);
    if (!(error instanceof Error && error.name === "Ended")) process.stderr.write(`${errorLine(error)}\n`);
    return code;
  }
}

// A reader such as `head` may leave before all is written, and a dead launcher takes its terminal with it: no reason for a
// member to end. Commands for clients end by that (globals.ts).
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") return;
    process.stderr.write(`Error: cannot write the output: ${error.message}\n`);
    process.exit(EXIT.io);
  });
}

const code = await run(process.argv.slice(2));
// That a write failed (a full disk) is told a turn later, and an output cut short must not end with code 0.
await new Promise<void>((resolve) => process.stdout.write("", () => setImmediate(resolve)));
process.exit(code);
