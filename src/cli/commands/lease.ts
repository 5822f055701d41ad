/** `quorate lease`: leases and what hangs on them. */
import type { Command } from "commander";
import { formatId, type LeaseId, leaseId } from "../../base/ids.ts";
import { fail } from "../exit.ts";
import { example, type Globals, globalsOf, wholeNumber, withClient } from "../globals.ts";

/** A lease id as etcdctl writes it: hexadecimal. */
export function parseLease(text: string): LeaseId {
  if (!/^(0x)?[0-9A-Fa-f]{1,16}$/.test(text)) {
    fail("badArguments", `bad lease ID (${text}), expecting ID in hexadecimal`);
  }
  return leaseId(BigInt.asIntN(64, BigInt(text.startsWith("0x") ? text : `0x${text}`)));
}

const ID = "hexadecimal, as `lease grant` prints it";

export function registerLease(program: Command): void {
  const lease = program
    .command("lease")
    .description("grant, revoke, keep alive, look at or list leases")
    .addHelpText(
      "after",
      example("$ quorate lease grant 60", "$ quorate put service up --lease 694d5765fc71500b", "$ quorate lease list"),
    );

  lease
    .command("grant")
    .description("make a lease")
    .argument("<ttl>", "seconds that it lasts unless it is kept alive", wholeNumber(-Number.MAX_SAFE_INTEGER))
    .addHelpText("after", example("$ quorate lease grant 60"))
    .action(async (ttl: number, _options: object, command: Command) => {
      const globals = globalsOf(command);
      const { print } = await import("../print.ts");
      await withClient(globals, async (client, call) => {
        const granting = client.request({ kind: "leaseGrant", ttl }, call);
        print(globals, await wrapped("failed to grant lease", granting));
      });
    });

  lease
    .command("revoke")
    .description("end a lease and delete its keys")
    .argument("<lease-id>", ID)
    .addHelpText("after", example("$ quorate lease revoke 694d5765fc71500b"))
    .action(async (text: string, _options: object, command: Command) => {
      const globals = globalsOf(command);
      const id = parseLease(text);
      const { print } = await import("../print.ts");
      await withClient(globals, async (client, call) => {
        const revoking = client.request({ kind: "leaseRevoke", id }, call);
        print(globals, await wrapped("failed to revoke lease", revoking), { lease: id });
      });
    });

  lease
    .command("timetolive")
    .description("show how much a lease has left")
    .argument("<lease-id>", ID)
    .option("--keys", "name the keys attached to it")
    .addHelpText("after", example("$ quorate lease timetolive 694d5765fc71500b --keys"))
    .action(async (text: string, options: { readonly keys?: boolean }, command: Command) => {
      const globals = globalsOf(command);
      const keys = options.keys === true;
      const id = parseLease(text);
      const { print } = await import("../print.ts");
      await withClient(globals, async (client, call) => {
        print(globals, await client.request({ kind: "leaseTimeToLive", id, keys }, call), { keys });
      });
    });

  lease
    .command("list")
    .description("list the leases")
    .addHelpText("after", example("$ quorate lease list"))
    .action(async (_options: object, command: Command) => {
      const globals = globalsOf(command);
      const { print } = await import("../print.ts");
      await withClient(globals, async (client, call) => {
        print(globals, await client.request({ kind: "leaseList" }, call));
      });
    });

  lease
    .command("keep-alive")
    .description("keep a lease alive until it ends or Ctrl-C")
    .argument("<lease-id>", ID)
    .option("--once", "renew it once")
    .addHelpText("after", example("$ quorate lease keep-alive 694d5765fc71500b"))
    .action(async (text: string, options: { readonly once?: boolean }, command: Command) => {
      await keepAlive(globalsOf(command), parseLease(text), options.once === true);
    });
}

async function keepAlive(globals: Globals, id: LeaseId, once: boolean): Promise<void> {
  const { print } = await import("../print.ts");
  const { StoreError } = await import("../../base/errors.ts");
  await withClient(globals, async (client, { signal, timeoutMs }) => {
    if (once) {
      const response = await client.request({ kind: "leaseKeepAlive", id }, { signal, timeoutMs });
      // etcdctl's code for it.
      if (response.result.ttl <= 0) fail("badConnection", new StoreError("LEASE_NOT_FOUND").message);
      print(globals, response);
      return;
    }
    try {
      for await (const { header, ttl } of client.lease.keepAlive(id, { signal })) {
        print(globals, { header, result: { kind: "leaseKeepAlive", id, ttl } });
      }
    } catch (error) {
      if (!StoreError.is(error, "LEASE_NOT_FOUND") && !StoreError.is(error, "TIMEOUT")) throw error;
      if (globals.format === "simple") {
        process.stdout.write(`lease ${formatId(id).padStart(16, "0")} expired or revoked.\n`);
      }
    }
  });
}

/** etcdctl's way to say what failed. */
async function wrapped<T>(what: string, promise: Promise<T>): Promise<T> {
  const { StoreError } = await import("../../base/errors.ts");
  try {
    return await promise;
  } catch (error) {
    if (!StoreError.is(error)) throw error;
    const { code, outcome, details, message } = error;
    throw new StoreError(code, { outcome, details, message: `${what} (${message})`, cause: error });
  }
}
