/** `quorate del`: deletes a key or a range. */
import type { Command } from "commander";
import type { DeleteRangeRequest } from "../../protocol/requests.ts";
import { fail } from "../exit.ts";
import { example, globalsOf, withClient } from "../globals.ts";

interface DelOptions {
  readonly prefix?: boolean;
  readonly fromKey?: boolean;
  readonly range?: boolean;
  readonly prevKv?: boolean;
}

export function registerDel(program: Command): void {
  program
    .command("del")
    .description("delete a key or a range of keys")
    .argument("<key>")
    .argument("[range_end]", "the first key after the range; give --range too")
    .option("--prefix", "every key that begins with this one")
    .option("--from-key", "every key from this one on")
    .option("--range", "the two arguments are a range")
    .option("--prev-kv", "print what was deleted")
    .addHelpText("after", example("$ quorate del greeting", "$ quorate del jobs/ --prefix --prev-kv"))
    .action(async (key: string, rangeEnd: string | undefined, options: DelOptions, command: Command) => {
      const globals = globalsOf(command);
      const { keyArguments } = await import("../range.ts");
      const range = keyArguments("del", key, rangeEnd, options);
      if (options.range === true && (options.prefix === true || options.fromKey === true)) {
        fail("badArguments", "`--range` cannot be set at the same time as `--prefix` or `--from-key`, choose one");
      }
      if (options.range === true && rangeEnd === undefined) fail("badArguments", "`--range` needs a range_end");
      if (rangeEnd !== undefined && options.range !== true) {
        // etcdctl's pause: who meant to delete two keys can still stop it.
        process.stderr.write(
          `warning: this deletes every key from ${key} up to ${rangeEnd}, not these two keys; stop with Ctrl-C, or say --range\n`,
        );
        const { setTimeout: delay } = await import("node:timers/promises");
        await delay(2_000);
      }
      const request: DeleteRangeRequest = { kind: "deleteRange", ...range, prevKv: options.prevKv };
      const { print } = await import("../print.ts");
      await withClient(globals, async (client, call) => print(globals, await client.request(request, call)));
    });
}
