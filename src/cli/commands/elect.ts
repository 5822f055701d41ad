/** `quorate elect`: stands in an election, or listens to one. */
import type { Command } from "commander";
import { fail } from "../exit.ts";
import { example, globalsOf } from "../globals.ts";

export function registerElect(program: Command): void {
  program
    .command("elect")
    .description("stand in an election and lead until Ctrl-C, or listen to who leads")
    .usage("[options] <name> [proposal]")
    .argument("<name>", "of the election")
    .argument("[proposal]", "the value to proclaim as leader")
    .option("-l, --listen", "print each leader, and what it proclaims")
    .addHelpText("after", example("$ quorate elect scheduler node-1", "$ quorate elect --listen scheduler"))
    .action(
      async (name: string, proposal: string | undefined, options: { readonly listen?: boolean }, self: Command) => {
        const globals = globalsOf(self);
        const listen = options.listen === true;
        // etcdctl's texts.
        if (proposal === undefined && !listen) fail("badArguments", "no proposal argument but -l not set");
        if (proposal !== undefined && listen) fail("badArguments", "proposal given but -l is set");
        const { campaign, listenTo } = await import("../holding.ts");
        if (proposal === undefined) await listenTo(globals, name);
        else await campaign(globals, name, proposal);
      },
    );
}
