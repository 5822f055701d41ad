/** `quorate alarm`: what members say is wrong, in etcdctl's words. */
import type { Command } from "commander";
import { example, globalsOf, withClient } from "../globals.ts";

export function registerAlarm(program: Command): void {
  const alarm = program
    .command("alarm")
    .description("the alarms of the cluster: list and disarm")
    .addHelpText("after", example("$ quorate alarm list"));

  alarm
    .command("list")
    .description("the alarms that stand")
    .addHelpText("after", example("$ quorate alarm list"))
    .action(async (_options: unknown, command: Command) => {
      const globals = globalsOf(command);
      const { print } = await import("../print.ts");
      await withClient(globals, async (client, call) => {
        const { header, alarms } = await client.alarms.list(call);
        print(globals, { header, result: { kind: "alarm", alarms } });
      });
    });

  alarm
    .command("disarm")
    .description("release all alarms; a member that is still out of space raises its own again")
    .addHelpText("after", example("$ quorate alarm disarm"))
    .action(async (_options: unknown, command: Command) => {
      const globals = globalsOf(command);
      const { print } = await import("../print.ts");
      await withClient(globals, async (client, call) => {
        const { header, alarms } = await client.alarms.disarm(undefined, call);
        print(globals, { header, result: { kind: "alarm", alarms } });
      });
    });
}
