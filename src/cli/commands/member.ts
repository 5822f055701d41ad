/** `quorate member`: who belongs to the cluster. */
import { type Command, Option } from "commander";
import { type MemberId, memberId, parseId } from "../../base/ids.ts";
import { fail } from "../exit.ts";
import { commaList, example, globalsOf, withClient } from "../globals.ts";

export function parseMemberId(text: string): MemberId {
  const id = parseId(text);
  if (id === undefined || id === 0n) {
    fail("badArguments", `bad member ID arg (${text}), expecting ID in Hex`);
  }
  return memberId(id);
}

const peerUrls = (): Option =>
  new Option("--peer-urls <list>", "where the other members reach it, such as ws://127.0.0.1:7407").argParser(
    commaList,
  );

interface UrlOptions {
  readonly peerUrls?: readonly string[];
  readonly learner?: boolean;
}

export function registerMember(program: Command): void {
  const member = program
    .command("member")
    .description("list, add, remove, promote or update members")
    .addHelpText(
      "after",
      example("$ quorate member list -w table", "$ quorate member add n4 --peer-urls ws://127.0.0.1:7407"),
    );

  member
    .command("list")
    .description("list the members")
    .option("--consistency <l|s>", "l: linearizable; s: as one member knows them", "l")
    .addHelpText("after", example("$ quorate member list -w table"))
    .action(async (options: { readonly consistency: string }, command: Command) => {
      const globals = globalsOf(command);
      if (options.consistency !== "l" && options.consistency !== "s") {
        fail("badFeature", `unknown consistency flag "${options.consistency}"`);
      }
      const { print } = await import("../print.ts");
      await withClient(globals, async (client, call) => {
        print(globals, await client.request({ kind: "memberList", linearizable: options.consistency === "l" }, call), {
          verb: "list",
        });
      });
    });

  member
    .command("add")
    .description("add a member; start it afterwards with `quorate server --join`")
    .argument("<name>", "the name that it will be started with")
    .addOption(peerUrls())
    .option("--learner", "it receives the log but does not vote yet")
    .addHelpText("after", example("$ quorate member add n4 --peer-urls ws://127.0.0.1:7407 --learner"))
    .action(async (name: string, options: UrlOptions, command: Command) => {
      const globals = globalsOf(command);
      if (options.peerUrls === undefined) return fail("badArguments", "member peer urls not provided");
      const urls = options.peerUrls;
      const { print } = await import("../print.ts");
      await withClient(globals, async (client, call) => {
        const request = { kind: "memberAdd", peerUrls: urls, isLearner: options.learner } as const;
        print(globals, await client.request(request, call), { verb: "add", name });
      });
    });

  member
    .command("remove")
    .description("remove a member")
    .argument("<member-id>", "hexadecimal, as `member list` prints it")
    .addHelpText("after", example("$ quorate member remove c89feb932daef420"))
    .action((text: string, _options: object, command: Command) => change(command, "remove", text));

  member
    .command("promote")
    .description("let a learner vote")
    .argument("<member-id>", "hexadecimal, as `member list` prints it")
    .addHelpText("after", example("$ quorate member promote c89feb932daef420"))
    .action((text: string, _options: object, command: Command) => change(command, "promote", text));

  member
    .command("update")
    .description("change the peer addresses of a member")
    .argument("<member-id>", "hexadecimal, as `member list` prints it")
    .addOption(peerUrls())
    .addHelpText("after", example("$ quorate member update c89feb932daef420 --peer-urls ws://127.0.0.1:7501"))
    .action((text: string, options: UrlOptions, command: Command) => {
      if (options.peerUrls === undefined) return fail("badArguments", "member peer urls not provided");
      return change(command, "update", text, options.peerUrls);
    });
}

async function change(
  command: Command,
  verb: "remove" | "promote" | "update",
  text: string,
  urls: readonly string[] = [],
): Promise<void> {
  const globals = globalsOf(command);
  const id = parseMemberId(text);
  const { print } = await import("../print.ts");
  await withClient(globals, async (client, call) => {
    const answer =
      verb === "remove"
        ? client.request({ kind: "memberRemove", id }, call)
        : verb === "promote"
          ? client.request({ kind: "memberPromote", id }, call)
          : client.request({ kind: "memberUpdate", id, peerUrls: urls }, call);
    print(globals, await answer, { verb, id });
  });
}
