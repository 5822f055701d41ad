/** `quorate version`. */
import type { Command } from "commander";
import { example } from "../globals.ts";

export function registerVersion(program: Command): void {
  program
    .command("version")
    .description("print the version")
    .addHelpText("after", example("$ quorate version"))
    .action(async () => {
      const { readFileSync } = await import("node:fs");
      // As deep below the package's root when built (dist/cli/commands) as in the source.
      const { version } = JSON.parse(readFileSync(new URL("../../../package.json", import.meta.url), "utf8"));
      process.stdout.write(`quorate version: ${version}\nAPI version: 3.6\n`);
    });
}
