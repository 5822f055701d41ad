/** The load of `bench/etcd-load` for quorate: one process, a few sockets, one JSON line. Flags and output are the same. */
import { availableParallelism } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { prng } from "../src/base/prng.ts";
import { connect } from "../src/node/connect.ts";

/** As many sockets as the Go loader opens. */
const SOCKETS = 9;

const { values } = parseArgs({
  options: {
    endpoints: { type: "string", default: "127.0.0.1:7400,127.0.0.1:7402,127.0.0.1:7404" },
    clients: { type: "string", default: "100" },
    seconds: { type: "string", default: "10" },
    warmup: { type: "string", default: "1" },
    "key-bytes": { type: "string", default: "32" },
    "value-bytes": { type: "string", default: "256" },
  },
});
const clients = Number(values.clients);
const keyBytes = Number(values["key-bytes"]);
const valueBytes = Number(values["value-bytes"]);
const endpoints = values.endpoints.split(",");

const connections = await Promise.all(
  Array.from({ length: Math.min(SOCKETS, clients) }, (_, i) =>
    connect({ endpoints: [endpoints[i % endpoints.length]!] }),
  ),
);
let counter = 0;
let errors = 0;
let measuring = false;
let stopped = false;
const latencies: number[] = [];

/** Eight hexadecimal digits. From a generator that costs next to nothing, as the Go loader's. */
function digits(random: () => number): string {
  return Math.floor(random() * 0x1_0000_0000)
    .toString(16)
    .padStart(8, "0");
}

async function loop(i: number): Promise<void> {
  const connection = connections[i % connections.length]!;
  const random = prng(Date.now() + i * 7_919);
  const value = Buffer.alloc(valueBytes);
  for (let at = 0; at < valueBytes; at++) value[at] = random() * 256;
  while (!stopped) {
    counter += 1;
    const suffix = counter.toString(16).padStart(12, "0");
    let prefix = "";
    while (prefix.length < keyBytes - suffix.length) prefix += digits(random);
    const key = (prefix.slice(0, Math.max(0, keyBytes - suffix.length)) + suffix).slice(-keyBytes);
    if (valueBytes >= 8) {
      value.writeUInt32BE(counter >>> 0, 0);
      value.writeUInt32BE((random() * 0x1_0000_0000) >>> 0, 4);
    }
    const inWindow = measuring;
    const begun = performance.now();
    try {
      await connection.put(key, value, { timeoutMs: 5_000 });
      // Only what began and ended inside the window counts.
      if (inWindow && !stopped) latencies.push(performance.now() - begun);
    } catch {
      if (inWindow && !stopped) errors += 1;
    }
  }
}

const loops = Array.from({ length: clients }, (_, i) => loop(i));
await delay(Number(values.warmup) * 1_000);
const cpuBefore = process.cpuUsage();
const begun = performance.now();
measuring = true;
await delay(Number(values.seconds) * 1_000);
stopped = true;
const seconds = (performance.now() - begun) / 1_000;
const cpu = process.cpuUsage(cpuBefore);
await Promise.all(loops);
await Promise.all(connections.map((connection) => connection.close()));

latencies.sort((a, b) => a - b);
const percentile = (share: number): number => latencies[Math.max(0, Math.round(latencies.length * share) - 1)] ?? 0;
const result = {
  ops: latencies.length,
  seconds,
  opsPerSecond: latencies.length / seconds,
  p50Ms: percentile(0.5),
  p99Ms: percentile(0.99),
  errors,
  cpuShare: (cpu.user + cpu.system) / 1e6 / seconds / availableParallelism(),
};
process.stdout.write(`${JSON.stringify(result)}\n`);
