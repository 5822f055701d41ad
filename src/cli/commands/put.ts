/** `quorate put`: writes one key. */
import type { Command } from "commander";
import type { PutRequest } from "../../protocol/requests.ts";
import { fail } from "../exit.ts";
import { example, globalsOf, readStdin, withClient } from "../globals.ts";
import { parseLease } from "./lease.ts";

interface PutOptions {
  readonly lease?: string;
  readonly prevKv?: boolean;
  readonly ignoreValue?: boolean;
  readonly ignoreLease?: boolean;
}

export function registerPut(program: Command): void {
  program
    .command("put")
    .description("put a key; the value comes from stdin when it is not given")
    .argument("<key>")
    .argument("[value]")
    .option("--lease <id>", "attach this lease (hexadecimal)")
    .option("--prev-kv", "print the key-value pair that it replaces")
    .option("--ignore-value", "keep the current value")
    .option("--ignore-lease", "keep the current lease")
    .addHelpText(
      "after",
      example(
        "$ quorate put greeting hello",
        "$ quorate put greeting < file",
        "$ quorate put service up --lease 694d5765fc71500b",
        "$ quorate put -- -key -value",
      ),
    )
    .action(async (key: string, value: string | undefined, options: PutOptions, command: Command) => {
      const globals = globalsOf(command);
      const lease = options.lease === undefined ? undefined : parseLease(options.lease);
      if (options.ignoreValue === true && value !== undefined) {
        fail("badArguments", "put command needs only 1 argument when 'ignore-value' is set");
      }
      const { encodeUtf8 } = await import("../../base/bytes.ts");
      const bytes =
        options.ignoreValue === true ? new Uint8Array() : value === undefined ? await readStdin() : encodeUtf8(value);
      const { print } = await import("../print.ts");
      await withClient(globals, async (client, call) => {
        const request: PutRequest = {
          kind: "put",
          key: encodeUtf8(key),
          value: bytes,
          lease,
          prevKv: options.prevKv,
          ignoreValue: options.ignoreValue,
          ignoreLease: options.ignoreLease,
        };
        print(globals, await client.request(request, call));
      });
    });
}
