/** etcd as a contender: `ETCD_BIN` or the one in PATH, with its defaults but for the quota. Its load generator is built with Go. */
import { execFileSync } from "node:child_process";
import { existsSync, rmSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { freeBlock } from "../../src/platform/node/ports.ts";
import type { Scratch } from "../support/scratch.ts";
import { accepted, type Cluster, type Contender, isHealthy, logFile, Member, post, startAll } from "./cluster.ts";

const LOADER_SOURCE = fileURLToPath(new URL("../etcd-load", import.meta.url));
/** Where Go's own installer puts it: often in nobody's PATH. */
const GO_DIR = "/usr/local/go/bin";
const QUOTA_BYTES = 8 * 2 ** 30;

/** Throws, saying what is missing. */
export function etcd(scratch: Scratch): Contender {
  const binary = process.env.ETCD_BIN ?? "etcd";
  const version = /etcd Version: (\S+)/.exec(outputOf(binary, ["--version"]))?.[1] ?? "of an unknown version";
  return {
    name: "etcd",
    note: `etcd ${version}`,
    loader: [buildLoader(scratch)],
    cannot: {},
    isFull: true,
    start: (own, name, nodes) => start(own, binary, name, nodes),
  };
}

function outputOf(binary: string, args: readonly string[]): string {
  try {
    return execFileSync(binary, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  } catch (error) {
    throw new Error(`${binary} does not run: ${(error as Error).message.split("\n")[0]} (ETCD_BIN names another)`);
  }
}

/** Go keeps what it compiled, so only the first time takes long. */
function buildLoader(scratch: Scratch): string {
  const loader = join(scratch.dir, "etcd-load");
  const path = [process.env.PATH, ...(existsSync(GO_DIR) ? [GO_DIR] : [])].join(delimiter);
  try {
    execFileSync("go", ["build", "-o", loader, "."], {
      cwd: LOADER_SOURCE,
      env: { ...process.env, PATH: path },
      stdio: ["ignore", "ignore", "pipe"],
    });
  } catch (error) {
    const { stderr } = error as { stderr?: Buffer };
    throw new Error(
      `its load generator does not build with Go: ${stderr?.toString().trim() || (error as Error).message}`,
    );
  }
  return loader;
}

interface EtcdStatus {
  readonly header: { readonly member_id: string };
  readonly leader?: string;
}

async function start(scratch: Scratch, binary: string, name: string, nodes: number): Promise<Cluster> {
  const base = await freeBlock(2 * nodes);
  const names = Array.from({ length: nodes }, (_, i) => `e${i + 1}`);
  const clientUrl = (i: number): string => `http://127.0.0.1:${base + 2 * i}`;
  const peerUrl = (i: number): string => `http://127.0.0.1:${base + 2 * i + 1}`;
  const initial = names.map((own, i) => `${own}=${peerUrl(i)}`).join(",");
  const dirOf = (i: number): string => join(scratch.dir, name, names[i]!);
  const command = (i: number, state: "new" | "existing"): string[] => [
    ...[binary, "--name", names[i]!, "--data-dir", dirOf(i), "--quota-backend-bytes", String(QUOTA_BYTES)],
    ...["--listen-client-urls", clientUrl(i), "--advertise-client-urls", clientUrl(i)],
    ...["--listen-peer-urls", peerUrl(i), "--initial-advertise-peer-urls", peerUrl(i)],
    ...["--initial-cluster", initial, "--initial-cluster-state", state],
  ];
  const members = names.map(
    (own, i) =>
      new Member(scratch, own, {
        endpoint: `127.0.0.1:${base + 2 * i}`,
        isReady: () => isHealthy(clientUrl(i)),
        logFile: logFile(scratch, `${name}-${own}`),
        command: command(i, "new"),
      }),
  );
  await startAll(members);
  // Its JSON gateway gives 64-bit numbers as text.
  const statusOf = (i: number) => post<EtcdStatus>(`${clientUrl(i)}/v3/maintenance/status`, {});
  return {
    members,
    leader: async () => {
      const statuses = await Promise.all(members.map((_, i) => statusOf(i)));
      const at = statuses.findIndex(({ header, leader }) => leader === header.member_id);
      if (at < 0) throw new Error("etcd has no leader");
      return members[at]!;
    },
    replace: async (member) => {
      const i = members.indexOf(member);
      const { header } = await statusOf(i);
      const other = clientUrl(i === 0 ? 1 : 0);
      await accepted(() => post(`${other}/v3/cluster/member/remove`, { ID: header.member_id }));
      await member.stop("SIGKILL");
      rmSync(dirOf(i), { recursive: true, force: true });
      await accepted(() => post(`${other}/v3/cluster/member/add`, { peerURLs: [peerUrl(i)] }));
      member.start(command(i, "existing"));
    },
  };
}
