/** `quorate version`. */
import type { Command } from "commander";
import { VERSION } from "../../base/version.ts";
import { example } from "../globals.ts";

export function registerVersion(program: Command): void {
  program
    .command("version")
    .description("print the version")
    .addHelpText("after", example("$ quorate version"))
    .action(() => {
      process.stdout.write(`quorate version: ${VERSION}\nAPI version: 3.6\n`);
    });
}
