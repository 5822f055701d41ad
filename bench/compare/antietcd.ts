/** antietcd as a contender: the only other store with etcd-like calls that runs in Node.js. A development dependency. */
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { freeBlock } from "../../src/platform/node/ports.ts";
import type { Scratch } from "../support/scratch.ts";
import { type Cluster, type Contender, logFile, Member, post, startAll } from "./cluster.ts";

const LOADER = fileURLToPath(new URL("../antietcd-load.ts", import.meta.url));

/** Throws, saying what is missing. */
export function antietcd(): Contender {
  const app = createRequire(import.meta.url).resolve("antietcd/antietcd-app.js");
  return {
    name: "antietcd",
    note: "antietcd keeps its data in memory: on disk it rewrites the whole database for each put",
    loader: [process.execPath, "--import", "tsx", LOADER],
    cannot: {
      "watch-one": "its watches have a protocol of their own",
      "watch-many": "its watches have a protocol of their own",
      lease: "its keep-alives are requests of their own, not a stream",
      "fail-over": "nothing of it is on disk",
    },
    isFull: false,
    start: (scratch, name, nodes) => start(scratch, app, name, nodes),
  };
}

async function start(scratch: Scratch, app: string, name: string, nodes: number): Promise<Cluster> {
  const base = await freeBlock(nodes);
  const names = Array.from({ length: nodes }, (_, i) => `a${i + 1}`);
  const url = (i: number): string => `http://127.0.0.1:${base + i}`;
  const cluster = names.map((own, i) => `${own}=${url(i)}`).join(",");
  const members = names.map(
    (own, i) =>
      new Member(scratch, own, {
        endpoint: `127.0.0.1:${base + i}`,
        isReady: () => takesWrites(url(i)),
        logFile: logFile(scratch, `${name}-${own}`),
        command: [
          ...[process.execPath, app, "--ip", "127.0.0.1", "--port", String(base + i), "--node_id", own],
          // A read goes to the leader, as elsewhere in this comparison.
          ...["--cluster_key", "bench", "--cluster", cluster, "--stale_read", "0"],
        ],
      }),
  );
  await startAll(members);
  return {
    members,
    leader: () => Promise.reject(new Error("antietcd names no leader")),
    replace: () => Promise.reject(new Error("antietcd has no membership calls")),
  };
}

/** It has nothing else that tells that it found a leader. */
function takesWrites(url: string): Promise<boolean> {
  const text = (value: string): string => Buffer.from(value).toString("base64");
  return post(`${url}/v3/kv/put`, { key: text("elected"), value: text("yes") }).then(
    () => true,
    () => false,
  );
}
