/** `quorate compaction`: forgets the history below a revision. */
import type { Command } from "commander";
import { example, globalsOf, wholeNumber, withClient } from "../globals.ts";

export function registerCompaction(program: Command): void {
  program
    .command("compaction")
    .description("forget the history of every key below a revision")
    .argument("<revision>", "what is older can no longer be read", wholeNumber(-Number.MAX_SAFE_INTEGER))
    .option("--physical", "wait until the space has been given back")
    .addHelpText("after", example("$ quorate compaction 1234", "$ quorate compaction 1234 --physical"))
    .action(async (revision: number, options: { readonly physical?: boolean }, command: Command) => {
      const globals = globalsOf(command);
      const { print } = await import("../print.ts");
      await withClient(globals, async (client, call) => {
        print(globals, await client.request({ kind: "compact", revision, physical: options.physical }, call), {
          revision,
        });
      });
    });
}
