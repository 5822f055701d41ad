/** `quorate txn`: compares, then one of two lists of operations, read from stdin. */
import type { Command } from "commander";
import { example, globalsOf, withClient } from "../globals.ts";

export function registerTxn(program: Command): void {
  program
    .command("txn")
    .description("run a transaction from stdin: compares, success and failure operations, an empty line after each")
    .option("-i, --interactive", "print a prompt before each block")
    .addHelpText(
      "after",
      example(
        '$ printf \'value("a") = "1"\\n\\nput a 2\\n\\nget a\\n\\n\' | quorate txn',
        "$ quorate txn --interactive",
      ),
    )
    .action(async (options: { readonly interactive?: boolean }, command: Command) => {
      const globals = globalsOf(command);
      const { readTxn } = await import("../txn-input.ts");
      const request = await readTxn(options.interactive === true);
      const { print } = await import("../print.ts");
      await withClient(globals, async (client, call) => print(globals, await client.request(request, call)));
    });
}
