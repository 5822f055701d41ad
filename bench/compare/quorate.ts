/** quorate as a contender: the build, its members as `quorate cluster` starts them, with its defaults but for the quota. */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { engineOptions } from "../../src/cli/launcher.ts";
import { connect } from "../../src/node/connect.ts";
import { freeBlock } from "../../src/platform/node/ports.ts";
import type { Scratch } from "../support/scratch.ts";
import { accepted, type Cluster, type Contender, isHealthy, logFile, Member, startAll } from "./cluster.ts";

const MAIN = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
const LOADER = fileURLToPath(new URL("../quorate-load.ts", import.meta.url));

export const QUORATE: Contender = {
  name: "quorate",
  loader: [process.execPath, "--import", "tsx", LOADER],
  cannot: {},
  isFull: true,
  start,
};

/** `settings` go into its cluster.config.json, `nodeArgs` to Node. */
export async function start(
  scratch: Scratch,
  name: string,
  nodes: number,
  settings: Readonly<Record<string, unknown>> = {},
  nodeArgs: readonly string[] = [],
): Promise<Cluster> {
  const base = await freeBlock(2 * nodes);
  const dir = join(scratch.dir, name);
  const config = join(scratch.dir, `${name}.json`);
  const ports = Array.from({ length: nodes }, (_, i) => base + 2 * i);
  const description = {
    dir,
    // Loads of seconds write more than people keep.
    quotaBytes: -1,
    ...settings,
    members: ports.map((port, i) => ({
      name: `n${i + 1}`,
      clientUrl: `ws://127.0.0.1:${port}`,
      peerUrl: `ws://127.0.0.1:${port + 1}`,
    })),
  };
  writeFileSync(config, JSON.stringify(description));
  const members = ports.map((port, i) => {
    const own = `n${i + 1}`;
    return new Member(scratch, own, {
      endpoint: `127.0.0.1:${port}`,
      isReady: () => isHealthy(`http://127.0.0.1:${port}`),
      logFile: logFile(scratch, `${name}-${own}`),
      command: [
        process.execPath,
        ...engineOptions(nodes),
        ...nodeArgs,
        MAIN,
        "server",
        "--name",
        own,
        "--config",
        config,
      ],
    });
  });
  await startAll(members);
  const statuses = async () => {
    await using client = await connect({ endpoints: members.map(({ endpoint }) => endpoint) });
    return await Promise.all(members.map(async (member) => ({ member, status: await client.status(member.endpoint) })));
  };
  return {
    members,
    leader: async () => {
      const all = await statuses();
      const leading = all.find(({ status }) => status.leader === status.header.memberId);
      if (leading === undefined) throw new Error("quorate has no leader");
      return leading.member;
    },
    replace: async (member) => {
      const others = members.filter((each) => each !== member).map(({ endpoint }) => endpoint);
      const port = Number(member.endpoint.split(":")[1]);
      const { status } = (await statuses()).find((each) => each.member === member)!;
      await using client = await connect({ endpoints: others });
      await accepted(() => client.members.remove(status.header.memberId));
      await member.stop("SIGKILL");
      rmSync(join(dir, member.name), { recursive: true, force: true });
      await accepted(() => client.members.add([`ws://127.0.0.1:${port + 1}`]));
      member.start([
        ...[
          process.execPath,
          ...engineOptions(nodes),
          MAIN,
          "server",
          "--name",
          member.name,
          "--dir",
          join(dir, member.name),
        ],
        ...["--join", others.join(","), "--quota-bytes", "-1"],
        ...["--listen-client-url", `ws://127.0.0.1:${port}`, "--listen-peer-url", `ws://127.0.0.1:${port + 1}`],
      ]);
    },
  };
}
