#!/usr/bin/env node
/** The `quorate` command: reads arguments, runs one command, ends with its exit code. Data on stdout, messages on stderr. */
import { Command, CommanderError } from "commander";
import { registerCluster } from "./commands/cluster.ts";
import { registerCompaction } from "./commands/compaction.ts";
import { registerDel } from "./commands/del.ts";
import { registerEndpoint } from "./commands/endpoint.ts";
import { registerGet } from "./commands/get.ts";
import { registerMember } from "./commands/member.ts";
import { registerMoveLeader } from "./commands/move-leader.ts";
import { registerPut } from "./commands/put.ts";
import { registerServer } from "./commands/server.ts";
import { registerTxn } from "./commands/txn.ts";
import { registerVersion } from "./commands/version.ts";
import { EXIT, errorLine, exitCodeOf } from "./exit.ts";
import { addGlobalOptions } from "./globals.ts";

/** Each file holds its command's words; what a command needs to run is imported when it runs. */
export function buildProgram(): Command {
  const program = new Command("quorate")
    .description("A strongly consistent key-value store with etcd's semantics, embedded in Node.js.")
    .exitOverride()
    .configureOutput({ outputError: () => {} }) // printed below, in our own form
    .addHelpText(
      "after",
      "\nExample:\n  $ quorate cluster        # three members on this machine\n  $ quorate put greeting hello\n  $ quorate get greeting",
    );
  addGlobalOptions(program);
  registerCluster(program);
  registerServer(program);
  registerPut(program);
  registerGet(program);
  registerDel(program);
  registerTxn(program);
  registerCompaction(program);
  registerMember(program);
  registerMoveLeader(program);
  registerEndpoint(program);
  registerVersion(program);
  return program;
}

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

// A reader such as `head` may leave before all is written, and a dead launcher takes its terminal with it.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
  });
}

process.exit(await run(process.argv.slice(2)));
