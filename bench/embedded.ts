/**
 * `npm run bench:embedded`: a member inside this process: gets a second through its client without a socket, alone and leading
 * two others; what importing the library costs. `--json FILE` writes the same figures.
 */
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import Table from "cli-table3";
import type { Client, Node as Member } from "../src/index.ts";
import { freeBlock } from "../src/platform/node/ports.ts";
import build from "../test/support/build.ts";
import { machineLine } from "./support/machine.ts";
import { Progress } from "./support/progress.ts";
import { Scratch } from "./support/scratch.ts";
import { median, shown } from "./support/statistics.ts";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "3" },
    /** Under way at once, where the caller waits for a round. */
    clients: { type: "string", default: "100" },
    imports: { type: "string", default: "5" },
    json: { type: "string" },
  },
});
const seconds = Number(values.seconds);
const clients = Number(values.clients);
const imports = Number(values.imports);
const KEYS = 10_000;
/** Calls between two looks at the clock. */
const STRIDE = 64;
const IMPORT_SECONDS = 0.5;

const SERIALIZABLE = { serializable: true };

interface Row {
  readonly what: string;
  readonly opsPerSecond: number;
}
interface Found {
  readonly kvs: readonly unknown[];
}

build();
const library = new URL("../dist/index.js", import.meta.url).href;
const { Node } = (await import(library)) as typeof import("../src/index.ts");

const rows: Row[] = [];
const progress = new Progress(5 * seconds + imports * IMPORT_SECONDS);
{
  await using scratch = new Scratch("embedded");
  {
    await using node = await Node.open({ dir: join(scratch.dir, "alone") });
    const client = node.client();
    await fill(client);
    await measure("serializable get, one after the other", 1, (key) => client.get(key, SERIALIZABLE));
    await measure("linearizable get, one member, one after the other", 1, (key) => client.get(key));
    await measure(`linearizable get, one member, ${clients} under way`, clients, (key) => client.get(key));
  }
  const base = await freeBlock(6);
  const peers = [0, 1, 2].map((i) => ({ name: `n${i}`, peerUrl: `ws://127.0.0.1:${base + i}` }));
  const open = (i: number) =>
    Node.open({ ...peers[i]!, dir: join(scratch.dir, `n${i}`), peers, listenPeerUrl: peers[i]!.peerUrl });
  const nodes = await Promise.all(peers.map((_, i) => open(i)));
  try {
    const client = await leading(nodes);
    await fill(client);
    await measure("linearizable get, leader of three, one after the other", 1, (key) => client.get(key));
    await measure(`linearizable get, leader of three, ${clients} under way`, clients, (key) => client.get(key));
  } finally {
    for (const node of nodes) await node.close();
  }
}
const imported = Array.from({ length: imports }, importCost);
progress.done(imports * IMPORT_SECONDS, "imports");
progress.end();

const importing = {
  ms: median(imported.map(({ ms }) => ms)),
  mb: median(imported.map(({ mb }) => mb)),
};
console.log(machineLine());
const table = new Table({ head: ["embedded", "ops/s"], style: { head: [], border: [], compact: true } });
for (const { what, opsPerSecond } of rows) table.push([what, shown(opsPerSecond)]);
console.log(table.toString());
console.log(`importing the library: ${shown(importing.ms)} ms, ${shown(importing.mb)} MB`);
if (values.json !== undefined) {
  writeFileSync(values.json, `${JSON.stringify({ machine: machineLine(), rows, importing }, undefined, 1)}\n`);
}
process.exit(0);

function keyOf(i: number): string {
  return `embedded/${i}`;
}

async function fill(client: Client): Promise<void> {
  const value = new Uint8Array(256).fill(7);
  for (let i = 0; i < KEYS; i += 1_000) {
    await Promise.all(Array.from({ length: 1_000 }, (_, at) => client.put(keyOf(i + at), value)));
  }
}

/** Answers themselves are looked at, so that nothing of a call can be left out. */
async function measure(what: string, underWay: number, get: (key: string) => Promise<Found>): Promise<void> {
  const keys = Array.from({ length: KEYS }, (_, i) => keyOf(i));
  const loop = async (first: number, until: number): Promise<number> => {
    let ops = 0;
    for (let at = first; performance.now() < until; ) {
      for (let i = 0; i < STRIDE; i++, at = (at + 7_919) % KEYS) {
        const { kvs } = await get(keys[at]!);
        if (kvs.length !== 1) throw new Error(`${keys[at]} was not found`);
      }
      ops += STRIDE;
    }
    return ops;
  };
  const all = (until: number): Promise<number[]> =>
    Promise.all(Array.from({ length: underWay }, (_, i) => loop((i * 101) % KEYS, until)));
  await all(performance.now() + Math.min(500, seconds * 200));
  const begun = performance.now();
  const ops = (await all(begun + seconds * 1_000)).reduce((sum, own) => sum + own, 0);
  const opsPerSecond = ops / ((performance.now() - begun) / 1_000);
  rows.push({ what, opsPerSecond });
  progress.done(seconds, `${what}: ${shown(opsPerSecond)}/s`);
}

/** The client of the one that leads. */
async function leading(nodes: readonly Member[]): Promise<Client> {
  for (;;) {
    for (const node of nodes) {
      const client = node.client();
      const { leader, header } = await client.status("own");
      if (leader === header.memberId) return client;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** In a process of its own: time from before the import to after it, and the memory that it added. */
function importCost(): { readonly ms: number; readonly mb: number } {
  const program = `
    const memory = process.memoryUsage().rss, begun = performance.now();
    await import(${JSON.stringify(library)});
    console.log(JSON.stringify({ ms: performance.now() - begun, mb: (process.memoryUsage().rss - memory) / 2 ** 20 }));`;
  return JSON.parse(execFileSync(process.execPath, ["--input-type=module", "-e", program], { encoding: "utf8" })) as {
    ms: number;
    mb: number;
  };
}
