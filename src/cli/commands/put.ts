/** `quorate put`: writes one key. */
import type { Command } from "commander";
import { leaseId } from "../../base/ids.ts";
import type { PutRequest } from "../../protocol/requests.ts";
import { fail } from "../exit.ts";
import { example, globalsOf, readStdin, withClient } from "../globals.ts";

interface PutOptions {
  readonly lease?: string;
  readonly prevKv?: boolean;
  readonly ignoreValue?: boolean;
  readonly ignoreLease?: boolean;
}

/** A lease id as etcdctl writes it: hexadecimal. */
function parseLease(text: string | undefined): PutRequest["lease"] {
  if (text === undefined) return undefined;
  if (!/^(0x)?[0-9A-Fa-f]{1,16}$/.test(text))
    fail("badArguments", `bad lease ID (${text}), expecting ID in hexadecimal`);
  return leaseId(BigInt.asIntN(64, BigInt(text.startsWith("0x") ? text : `0x${text}`)));
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
      example("$ quorate put greeting hello", "$ quorate put greeting < file", "$ quorate put -- -key -value"),
    )
    .action(async (key: string, value: string | undefined, options: PutOptions, command: Command) => {
      const globals = globalsOf(command);
      const lease = parseLease(options.lease);
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
