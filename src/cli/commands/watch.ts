/** `quorate watch`: prints what happens to keys, and runs a command for it. */
import type { Command } from "commander";
import { fail } from "../exit.ts";
import { example, globalsOf, wholeNumber } from "../globals.ts";

export interface WatchFlags {
  readonly prefix?: boolean;
  readonly rev?: number;
  readonly prevKv?: boolean;
  readonly progressNotify?: boolean;
}

/** The flags of the command, and of a line typed into it. */
export function addWatchFlags(command: Command): Command {
  return command
    .option("--prefix", "every key that begins with this one")
    .option("--rev <n>", "begin with this revision", wholeNumber(0))
    .option("--prev-kv", "print what was there before")
    .option("--progress-notify", "print now and then how far the watch is");
}

export function registerWatch(program: Command): void {
  const command = program
    .command("watch")
    .description("watch a key or a range of keys, and run a command for each event")
    .usage("[options] [key] [range_end] [-- command args...]")
    .argument("[words...]", "key, first key after the range, and behind -- the command");
  addWatchFlags(command)
    .option("-i, --interactive", "read watches from stdin, one a line: watch [flags] key [range_end] [-- command]")
    .addHelpText(
      "after",
      example(
        "$ quorate watch greeting",
        "$ quorate watch jobs/ --prefix --rev 1 --prev-kv",
        "$ quorate watch config/ --prefix -- sh -c 'echo $ETCD_WATCH_EVENT_TYPE $ETCD_WATCH_KEY'",
      ),
    )
    .action(
      async (words: readonly string[], options: WatchFlags & { readonly interactive?: boolean }, self: Command) => {
        const globals = globalsOf(self);
        const { watchInteractively, watchOnce } = await import("../watching.ts");
        if (options.interactive === true) {
          if (words.length > 0)
            fail("badArguments", "with --interactive the watches come from stdin, not as arguments");
          await watchInteractively(globals);
          return;
        }
        await watchOnce(globals, words, options, process.argv);
      },
    );
}
