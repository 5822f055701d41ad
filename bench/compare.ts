/** `npm run bench:compare`: puts on a three-node quorate and, where it is found, a three-node etcd, in interleaved rounds. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import type { ClusterReady } from "../src/cli/launcher.ts";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "5" },
    clients: { type: "string", default: "1,100,1000" },
    json: { type: "string" },
  },
});
interface Figures {
  readonly opsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly errors: number;
  readonly cpuShare: number;
}
interface Contender {
  readonly name: string;
  readonly endpoints: readonly string[];
  readonly pids: readonly number[];
  readonly load: readonly string[];
}
type Row = Figures & {
  readonly name: string;
  readonly clients: number;
  readonly round: number;
  readonly rssMb: number;
};

const TMPFS = 0x01021994;
const dir = mkdtempSync(join(process.cwd(), "quorate-data-bench-"));
const children: ChildProcess[] = [];
const rows: Row[] = [];
try {
  if (statfsSync(dir).type === TMPFS) throw new Error(`${dir} is on tmpfs: run on a real disk, or fsync costs nothing`);
  const contenders = [await startQuorate()];
  const etcd = await startEtcd();
  if (etcd !== undefined) contenders.push(etcd);
  for (const clients of values.clients.split(",").map(Number)) {
    for (let round = 1; round <= Number(values.rounds); round++) {
      // One after the other: only one cluster has load at a time.
      for (const contender of contenders) {
        const [command, ...args] = contender.load;
        const child = spawn(
          command!,
          [
            ...args,
            "--endpoints",
            contender.endpoints.join(","),
            "--clients",
            String(clients),
            "--seconds",
            values.seconds,
          ],
          { stdio: ["ignore", "pipe", "inherit"] },
        );
        const figures = JSON.parse(await firstLine(child)) as Figures;
        const rssMb = median(contender.pids.map(rss));
        rows.push({ ...figures, name: contender.name, clients, round, rssMb });
        process.stderr.write(
          `${contender.name} ${clients} clients, round ${round}: ${Math.round(figures.opsPerSecond)} ops/s\n`,
        );
      }
    }
  }
  const keys = ["opsPerSecond", "p50Ms", "p99Ms", "rssMb", "cpuShare", "errors"] as const;
  const table: Record<string, string | number>[] = [];
  for (const clients of new Set(rows.map((row) => row.clients))) {
    const medians = contenders.map(({ name }) => {
      const own = rows.filter((row) => row.name === name && row.clients === clients);
      return Object.fromEntries(keys.map((key) => [key, median(own.map((row) => row[key]))])) as Record<
        (typeof keys)[number],
        number
      >;
    });
    contenders.forEach(({ name }, i) => {
      table.push({
        clients,
        name,
        ...Object.fromEntries(keys.map((key) => [key, Number(medians[i]![key].toFixed(2))])),
      });
    });
    const [ours, theirs] = medians;
    if (theirs !== undefined)
      table.push({
        clients,
        name: "ratio",
        ...Object.fromEntries(keys.slice(0, 4).map((key) => [key, Number((ours![key] / theirs[key]).toFixed(2))])),
      });
  }
  console.table(table);
  if (values.json !== undefined)
    writeFileSync(values.json, `${JSON.stringify({ node: process.version, rows, medians: table }, undefined, 2)}\n`);
} finally {
  await Promise.all(
    children.map(async (child) => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGTERM");
      await ended;
    }),
  );
  rmSync(dir, { recursive: true, force: true });
}

async function startQuorate(): Promise<Contender> {
  const child = spawn(
    process.execPath,
    ["dist/cli/main.js", "cluster", "--base-port", "0", "--json", "--dir", join(dir, "quorate")],
    { stdio: ["ignore", "pipe", "ignore"] },
  );
  children.push(child);
  const { members } = JSON.parse(await firstLine(child)) as ClusterReady;
  return {
    name: "quorate",
    endpoints: members.map((m) => m.clientUrl),
    pids: members.map((m) => m.pid),
    load: [process.execPath, "--import", "tsx", "bench/quorate-load.ts"],
  };
}

async function startEtcd(): Promise<Contender | undefined> {
  const binary = process.env.ETCD_BIN ?? "etcd";
  const cache = join(tmpdir(), "quorate-bench");
  const loader = join(cache, "etcd-load");
  try {
    execFileSync(binary, ["--version"], { stdio: "ignore" });
    mkdirSync(cache, { recursive: true });
    execFileSync("go", ["build", "-o", loader, "."], {
      cwd: "bench/etcd-load",
      stdio: ["ignore", "ignore", "inherit"],
    });
  } catch (error) {
    process.stderr.write(`without etcd: ${(error as Error).message.split("\n")[0]}\n`);
    return undefined;
  }
  const ports = await Promise.all(Array.from({ length: 6 }, freePort));
  const url = (i: number): string => `http://127.0.0.1:${ports[i]}`;
  const initial = [0, 1, 2].map((i) => `e${i}=${url(i + 3)}`).join(",");
  const nodes = [0, 1, 2].map((i) =>
    spawn(
      binary,
      [
        "--name",
        `e${i}`,
        "--data-dir",
        join(dir, `e${i}`),
        "--listen-client-urls",
        url(i),
        "--advertise-client-urls",
        url(i),
        "--listen-peer-urls",
        url(i + 3),
        "--initial-advertise-peer-urls",
        url(i + 3),
        "--initial-cluster",
        initial,
        "--initial-cluster-state",
        "new",
      ],
      { stdio: "ignore" },
    ),
  );
  children.push(...nodes);
  for (let tries = 0; ; tries++) {
    const answers = await Promise.all(
      [0, 1, 2].map((i) =>
        fetch(`${url(i)}/health`).then(
          (r) => r.ok,
          () => false,
        ),
      ),
    );
    if (answers.every(Boolean)) break;
    if (tries > 100) throw new Error("etcd did not become healthy");
    await delay(200);
  }
  return {
    name: "etcd",
    endpoints: [0, 1, 2].map((i) => `127.0.0.1:${ports[i]}`),
    pids: nodes.map((n) => n.pid!),
    load: [loader],
  };
}

function rss(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1024;
}

function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? 0;
}

async function firstLine(child: ChildProcess): Promise<string> {
  for await (const line of createInterface({ input: child.stdout! })) return line;
  throw new Error("a process ended without its line");
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}
