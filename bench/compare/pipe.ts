/** A raw pipe as a contender: not a store, but what this machine could do at most with the same parts (limit/pipe-member.ts). */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { freeBlock } from "../../src/platform/node/ports.ts";
import type { Contender } from "./cluster.ts";
import { logFile, Member, startAll } from "./cluster.ts";
import type { LoadKind } from "./load.ts";

const MEMBER = fileURLToPath(new URL("../limit/pipe-member.ts", import.meta.url));
const LOADER = fileURLToPath(new URL("../pipe-load.ts", import.meta.url));
const OTHERS: readonly LoadKind[] = [
  ...(["overwrite", "get", "get-serializable", "mixed", "cas", "range"] as const),
  ...(["watch-one", "watch-many", "lease"] as const),
];

export const PIPE: Contender = {
  name: "raw pipe",
  note: "raw pipe: sockets, msgpackr and one synchronous LevelDB write a burst on three nodes; no Raft, no revisions, nothing checked: the limit, not a store",
  loader: [process.execPath, "--import", "tsx", LOADER],
  cannot: Object.fromEntries(OTHERS.map((kind) => [kind, "it knows puts alone"])),
  isFull: false,
  start: async (scratch, name, nodes) => {
    const base = await freeBlock(nodes);
    const ports = Array.from({ length: nodes }, (_, i) => base + i);
    const members = ports.map(
      (port, i) =>
        new Member(scratch, `p${i + 1}`, {
          // All clients speak to the one that leads.
          endpoint: `127.0.0.1:${base}`,
          isReady: () => answers(port),
          logFile: logFile(scratch, `${name}-p${i + 1}`),
          command: [
            ...[process.execPath, "--import", "tsx", MEMBER, "--index", String(i)],
            ...["--ports", ports.join(","), "--dir", join(scratch.dir, `${name}-p${i + 1}`)],
          ],
        }),
    );
    await startAll(members);
    return {
      members,
      leader: async () => members[0]!,
      replace: () => Promise.reject(new Error("the pipe has no membership calls")),
    };
  },
};

/** A server of sockets says to a plain request that it wants an upgrade: it listens. */
function answers(port: number): Promise<boolean> {
  return fetch(`http://127.0.0.1:${port}`).then(
    async (response) => {
      await response.arrayBuffer();
      return true;
    },
    () => false,
  );
}
