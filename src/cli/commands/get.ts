/** `quorate get`: reads a key or a range. */
import type { Command } from "commander";
import type { RangeRequest, SortOrder, SortTarget } from "../../protocol/requests.ts";
import { fail } from "../exit.ts";
import { example, globalsOf, wholeNumber, withClient } from "../globals.ts";

interface GetOptions {
  readonly consistency: string;
  readonly order: string;
  readonly sortBy: string;
  readonly limit?: number;
  readonly prefix?: boolean;
  readonly fromKey?: boolean;
  readonly rev?: number;
  readonly keysOnly?: boolean;
  readonly countOnly?: boolean;
  readonly printValueOnly?: boolean;
  readonly minCreateRev?: number;
  readonly maxCreateRev?: number;
  readonly minModRev?: number;
  readonly maxModRev?: number;
}

const ORDERS: Record<string, SortOrder> = { "": "none", ASCEND: "ascend", DESCEND: "descend" };
const TARGETS: Record<string, SortTarget> = {
  "": "key",
  CREATE: "create",
  KEY: "key",
  MODIFY: "mod",
  VALUE: "value",
  VERSION: "version",
};

/** Case does not matter for the words of `--order` and `--sort-by`. */
function word<T>(table: Record<string, T>, text: string, what: string): T {
  const found = table[text.toUpperCase()];
  return found ?? fail("badFeature", `bad ${what} ${text}`);
}

export function registerGet(program: Command): void {
  const revision = wholeNumber(0);
  program
    .command("get")
    .description("get a key or a range of keys")
    .argument("<key>")
    .argument("[range_end]", "the first key after the range")
    .option("--consistency <l|s>", "l: linearizable; s: serializable, from one member alone, perhaps stale", "l")
    .option("--order <order>", "order of the results: ASCEND or DESCEND", "")
    .option("--sort-by <target>", "sort by CREATE, KEY, MODIFY, VALUE or VERSION", "")
    .option("--limit <n>", "most results", wholeNumber(0))
    .option("--prefix", "every key that begins with this one")
    .option("--from-key", "every key from this one on")
    .option("--rev <n>", "as it was at this revision", revision)
    .option("--keys-only", "print keys alone")
    .option("--count-only", "print the count alone (with --write-out=fields)")
    .option("--print-value-only", "print values alone")
    .option("--min-create-rev <n>", "created at this revision or later", revision)
    .option("--max-create-rev <n>", "created at this revision or earlier", revision)
    .option("--min-mod-rev <n>", "modified at this revision or later", revision)
    .option("--max-mod-rev <n>", "modified at this revision or earlier", revision)
    .addHelpText("after", example("$ quorate get greeting", "$ quorate get jobs/ --prefix --limit 10 -w json"))
    .action(async (key: string, rangeEnd: string | undefined, options: GetOptions, command: Command) => {
      const globals = globalsOf(command);
      const { keyArguments } = await import("../range.ts");
      const range = keyArguments("get", key, rangeEnd, options);
      if (options.consistency !== "l" && options.consistency !== "s") {
        fail("badFeature", `unknown consistency flag "${options.consistency}"`);
      }
      if (options.keysOnly === true && options.countOnly === true) {
        fail("badArguments", "`--keys-only` and `--count-only` cannot be set at the same time, choose one");
      }
      if (options.countOnly === true && globals.format !== "fields") {
        fail("badArguments", "--count-only is only for `--write-out=fields`");
      }
      const target = word(TARGETS, options.sortBy, "sort target");
      const order = word(ORDERS, options.order, "sort order");
      const request: RangeRequest = {
        kind: "range",
        ...range,
        limit: options.limit,
        revision: options.rev,
        // Keys come in ascending order anyway, so etcdctl asks for no sorting then.
        sortOrder: target === "key" && order === "ascend" ? "none" : order,
        sortTarget: target,
        serializable: options.consistency === "s",
        keysOnly: options.keysOnly,
        countOnly: options.countOnly,
        minModRevision: options.minModRev,
        maxModRevision: options.maxModRev,
        minCreateRevision: options.minCreateRev,
        maxCreateRevision: options.maxCreateRev,
      };
      const { print } = await import("../print.ts");
      await withClient(globals, async (client, call) => {
        print(globals, await client.request(request, call), { valueOnly: options.printValueOnly === true });
      });
    });
}
