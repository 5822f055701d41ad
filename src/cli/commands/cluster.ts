/** `quorate cluster`: a whole cluster of real processes on this machine. */
import type { Command } from "commander";
import { example, wholeNumber } from "../globals.ts";
import { addSettings, setting, settingsOf } from "../settings.ts";

export function registerCluster(program: Command): void {
  const command = program
    .command("cluster")
    .description("run a cluster on this machine, each member in a process of its own, until Ctrl-C")
    .addOption(setting("nodes", "<n>", "number of members (3)").argParser(wholeNumber(1, 9)))
    .addOption(setting("dir", "<dir>", "data directory; each member takes a folder in it (quorate-data)"))
    .addOption(
      setting(
        "base-port",
        "<port>",
        "member i takes port+2(i-1) for clients and the next for peers (7400); 0: free ports",
      ).argParser(wholeNumber(0, 65_000)),
    )
    .option("--restart", "start a member again when it dies")
    .option("--json", "print the ready line as one JSON object");
  addSettings(command)
    .addHelpText(
      "after",
      example(
        "$ quorate cluster --nodes 3 --dir ./quorate-data --base-port 7400",
        "$ quorate cluster --config cluster.config.json --restart",
      ),
    )
    .action(async (options: Record<string, unknown>) => {
      const { runCluster } = await import("../launcher.ts");
      await runCluster({
        ...settingsOf(options),
        dir: options.dir as string | undefined,
        nodes: options.nodes as number | undefined,
        basePort: options.basePort as number | undefined,
        restart: options.restart === true,
        json: options.json === true,
      });
    });
}
