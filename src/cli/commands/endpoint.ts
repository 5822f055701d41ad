/** `quorate endpoint`: asks each member for itself, so that one that is down is one line and not the end. */
import type { Command } from "commander";
import type { Client } from "../../client/client.ts";
import { Ended, EXIT, errorLine, fail } from "../exit.ts";
import { type Call, example, type Globals, globalsOf, wholeNumber, withClient } from "../globals.ts";

interface EndpointOptions {
  readonly cluster?: boolean;
  readonly rev?: number;
}

export function registerEndpoint(program: Command): void {
  const endpoint = program
    .command("endpoint")
    .description("status, health and hash of each member")
    .addHelpText("after", example("$ quorate endpoint status -w table"));

  endpoint
    .command("status")
    .description("version, size, leader and log position of each member")
    .option("--cluster", "ask every member of the cluster, not only --endpoints")
    .addHelpText("after", example("$ quorate endpoint status --cluster -w table"))
    .action(async (options: EndpointOptions, command: Command) => {
      const globals = globalsOf(command);
      const { printStatuses } = await import("../print.ts");
      const { answers, failed } = await askEach(globals, options, "status", (client, at, call) =>
        client.status(at, call),
      );
      printStatuses(globals, answers);
      if (failed > 0) throw new Ended(EXIT.error);
    });

  endpoint
    .command("hashkv")
    .description("hash of each member's history, comparable at equal revisions")
    .option("--cluster", "ask every member of the cluster, not only --endpoints")
    .option("--rev <n>", "up to this revision (the current one)", wholeNumber(0))
    .addHelpText("after", example("$ quorate endpoint hashkv --cluster"))
    .action(async (options: EndpointOptions, command: Command) => {
      const globals = globalsOf(command);
      const { printHashes } = await import("../print.ts");
      const { answers, failed } = await askEach(globals, options, "hash", (client, at, call) =>
        client.hashKv(at, { ...call, ...(options.rev === undefined ? {} : { revision: options.rev }) }),
      );
      printHashes(globals, answers);
      if (failed > 0) throw new Ended(EXIT.error);
    });

  endpoint
    .command("health")
    .description("whether each member can commit")
    .option("--cluster", "ask every member of the cluster, not only --endpoints")
    .addHelpText("after", example("$ quorate endpoint health --cluster"))
    .action(async (options: EndpointOptions, command: Command) => {
      const globals = globalsOf(command);
      const { printHealth } = await import("../print.ts");
      const endpoints = await endpointsOf(globals, options);
      const rows = await Promise.all(endpoints.map((at) => health(globals, at)));
      printHealth(globals, rows);
      if (rows.some((row) => !row.health)) fail("error", "unhealthy cluster");
    });
}

async function endpointsOf(globals: Globals, options: EndpointOptions): Promise<readonly string[]> {
  if (options.cluster !== true) return globals.endpoints;
  return withClient(globals, async (client, call) => {
    const { members } = await client.members.list(call);
    return members.flatMap((member) => member.clientUrls.slice(0, 1));
  });
}

export interface Answer<T> {
  readonly endpoint: string;
  readonly answer: T;
}

async function askEach<T>(
  globals: Globals,
  options: EndpointOptions,
  what: string,
  ask: (client: Client, endpoint: string, call: Call) => Promise<T>,
): Promise<{ readonly answers: readonly Answer<T>[]; readonly failed: number }> {
  const endpoints = await endpointsOf(globals, options);
  const asked = await withClient(
    globals,
    (client, call) =>
      Promise.all(
        endpoints.map(async (endpoint): Promise<Answer<T> | undefined> => {
          try {
            return { endpoint, answer: await ask(client, endpoint, call) };
          } catch (error) {
            const reason = errorLine(error).replace(/^Error: /, "");
            process.stderr.write(`Failed to get the ${what} of endpoint ${endpoint} (${reason})\n`);
            return undefined;
          }
        }),
      ),
    endpoints,
  );
  const answers = asked.filter((answer) => answer !== undefined);
  return { answers, failed: endpoints.length - answers.length };
}

export interface Health {
  readonly endpoint: string;
  readonly health: boolean;
  readonly tookMs: number;
  readonly error?: string;
}

/**
 * A linearizable read through this member alone, as etcdctl judges it: a read needs the leader and a majority. Then the
 * alarms: while one stands, no member is well.
 */
async function health(globals: Globals, endpoint: string): Promise<Health> {
  const began = performance.now();
  try {
    const alarms = await withClient(
      globals,
      async (client, call) => {
        await client.get("health", call);
        return (await client.alarms.list(call)).alarms;
      },
      [endpoint],
    );
    if (alarms.length > 0) {
      const error = `Active Alarm(s): ${alarms.map(({ alarm }) => `${alarm.toUpperCase()} `).join("")}`;
      return { endpoint, health: false, tookMs: performance.now() - began, error };
    }
    return { endpoint, health: true, tookMs: performance.now() - began };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { endpoint, health: false, tookMs: performance.now() - began, error: reason };
  }
}
