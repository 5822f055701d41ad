/** `quorate move-leader`: hands leadership to another member. */
import type { Command } from "commander";
import { formatId, memberId } from "../../base/ids.ts";
import { fail } from "../exit.ts";
import { example, globalsOf, withClient } from "../globals.ts";
import { parseMemberId } from "./member.ts";

export function registerMoveLeader(program: Command): void {
  program
    .command("move-leader")
    .description("hand leadership over to another member")
    .argument("<member-id>", "hexadecimal, as `member list` prints it")
    .addHelpText("after", example("$ quorate move-leader c89feb932daef420"))
    .action(async (text: string, _options: object, command: Command) => {
      const globals = globalsOf(command);
      const target = parseMemberId(text);
      await withClient(globals, async (client, call) => {
        // As etcdctl: the leader is looked for among the endpoints given, and asked itself.
        for (const endpoint of globals.endpoints) {
          const status = await client.status(endpoint, call).catch(() => undefined);
          if (status === undefined || status.leader !== status.header.memberId) continue;
          await client.request({ kind: "moveLeader", target: memberId(target) }, call);
          process.stdout.write(
            `Leadership transferred from ${formatId(status.header.memberId)} to ${formatId(target)}\n`,
          );
          return;
        }
        fail("badArguments", `no leader endpoint given at [${globals.endpoints.join(" ")}]`);
      });
    });
}
