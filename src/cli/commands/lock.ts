/** `quorate lock`: holds a lock by name, alone or around a command. */
import type { Command } from "commander";
import { example, globalsOf, wholeNumber } from "../globals.ts";

export function registerLock(program: Command): void {
  program
    .command("lock")
    .description("hold a lock until Ctrl-C, or while a command runs")
    .usage("[options] <name> [-- command args...]")
    .argument("<name>", "of the lock")
    .argument("[command...]", "run while it is held; what has flags of its own goes behind --")
    .option("--ttl <seconds>", "time after which others may take it from a holder that is gone", wholeNumber(1), 10)
    .addHelpText(
      "after",
      example(
        "$ quorate lock jobs/nightly",
        "$ quorate lock jobs/nightly -- sh -c 'echo $ETCD_LOCK_KEY $ETCD_LOCK_REV'",
        "  prints the lock's key once it is held; the command's exit code is its own",
      ),
    )
    .action(async (name: string, words: readonly string[], options: { readonly ttl: number }, self: Command) => {
      const globals = globalsOf(self);
      const { holdLock } = await import("../holding.ts");
      await holdLock(globals, name, words, options.ttl);
    });
}
