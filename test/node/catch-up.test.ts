/** Real sockets and disks: a member that was away until its log was gone catches up by snapshot while 100 writers are served. */
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { connect } from "../../src/node/connect.ts";
import { Node } from "../../src/node/node.ts";

async function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() =>
        typeof address === "object" && address !== null ? resolve(address.port) : reject(new Error("no port")),
      );
    });
  });
}

async function metric(url: string, name: string): Promise<number> {
  const page = await (await fetch(`${url.replace("ws:", "http:")}/metrics`)).text();
  return Number(new RegExp(`^${name} (\\d+)`, "m").exec(page)?.[1] ?? Number.NaN);
}

/** Looks again with each turn of the loop. */
async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setImmediate(resolve));
}

test("a member that comes back behind the log catches up under load, and holds what the others hold", async () => {
  const root = await mkdtemp(join(tmpdir(), "quorate-catch-up-"));
  onTestFinished(() => rm(root, { recursive: true, force: true, maxRetries: 5 }));
  const peers: { name: string; peerUrl: string }[] = [];
  for (const name of ["n1", "n2", "n3"]) peers.push({ name, peerUrl: `ws://127.0.0.1:${await freePort()}` });
  const open = (name: string): Promise<Node> =>
    Node.open({
      name,
      peers,
      dir: join(root, name),
      listenClientUrl: "ws://127.0.0.1:0",
      trailingEntries: 50,
      trailingBytes: 10_000,
      flushIntervalMs: 100,
    });
  const nodes = await Promise.all(peers.map(({ name }) => open(name)));
  const [one, two, three] = nodes as [Node, Node, Node];
  onTestFinished(async () => {
    for (const node of [one, two]) await node.close({ handOver: false });
  });
  const client = await connect({ endpoints: [one.clientUrl!, two.clientUrl!] });
  onTestFinished(() => client.close());
  await client.put("before", "1", { timeoutMs: 20_000 });
  const { raftIndex } = await three.client().status(three.clientUrl!);
  await three.close();

  let acknowledged = 0;
  let stopped = false;
  const writers = Array.from({ length: 100 }, async (_, w) => {
    for (let n = 0; !stopped; n++) {
      await client.put(`writer${w}/${n % 20}`, `${n}`, { timeoutMs: 20_000 });
      acknowledged += 1;
    }
  });
  await until(() => acknowledged > 2_000);
  /** Looks now and then, as the writers go on: a page for each turn would leave the members no time. */
  const reaches = async (url: string, name: string, least: number): Promise<void> => {
    while (!((await metric(url, name)) >= least)) {
      const seen = acknowledged;
      await until(() => acknowledged >= seen + 100);
    }
  };
  // For about an election timeout the leader keeps the log for whoever it heard of lately. The third member may have got
  // a few entries more than it said.
  for (const { clientUrl } of [one, two]) await reaches(clientUrl!, "quorate_log_first_index", raftIndex + 1_000);
  const again = await open("n3");
  onTestFinished(() => again.close({ handOver: false }));
  const before = acknowledged;
  await reaches(again.clientUrl!, "quorate_snapshots_installed_total", 1);
  await until(() => acknowledged > before + 500);
  stopped = true;
  await Promise.all(writers);

  const { revision } = (await client.get("before")).header;
  const hashes = await Promise.all(
    [one, two, again].map(async (node) => {
      // Linearizable: this member has applied all of it.
      await node.client().get("before");
      return (await node.client().hashKv(node.clientUrl!, { revision })).hash;
    }),
  );
  expect(new Set(hashes).size).toBe(1);
  expect((await again.client().get("writer", { prefix: true, countOnly: true })).count).toBe(2_000);
}, 180_000);
