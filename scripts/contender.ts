/**
 * One process of `npm run contend`: contends for a lock and an election with several clients. Its times are the machine's
 * monotonic clock, which all processes share. Started by scripts/contend.ts, which it tells what it saw.
 */
import { prng } from "../src/base/prng.ts";
import { Client } from "../src/client/client.ts";
import type { Clock } from "../src/platform/clock.ts";
import { silent } from "../src/platform/log.ts";
import { NodeClock } from "../src/platform/node/clock.ts";
import { NodeRandom } from "../src/platform/node/random.ts";
import { ContenderWorkload } from "../src/testing/index.ts";
import { connectChannel } from "../src/transport/client-channel.ts";
import { WebSocketNetwork } from "../src/transport/node/websocket.ts";
import type { FromContender, ToContender } from "./contend.ts";

const [label = "", contenders = "1", ttl = "3", seed = "1", ...endpoints] = process.argv.slice(2);

const inner = new NodeClock();
const clock: Clock = {
  now: () => Number(process.hrtime.bigint()) / 1e6,
  wallNow: () => inner.wallNow(),
  after: (ms, callback) => inner.after(ms, callback),
  every: (ms, callback) => inner.every(ms, callback),
  defer: (callback) => inner.defer(callback),
};
const network = new WebSocketNetwork();

function client(): Promise<Client> {
  return Client.open({
    clock,
    random: new NodeRandom(),
    endpoints,
    dial: async (endpoint, timeoutMs) => {
      const connection = await network.dial(endpoint, { maxFrameBytes: 64 << 20, timeoutMs });
      return connectChannel(connection, { clock, log: silent, timeoutMs });
    },
  });
}

const say = (message: FromContender): void => void process.send?.(message);

const workloads = await Promise.all(
  (["lock", "election"] as const).map(
    async (kind, i) =>
      new ContenderWorkload({
        ...{ kind, clock, label, random: prng(Number(seed) + i), pauseMs: 0 },
        clients: await Promise.all(Array.from({ length: Number(contenders) }, client)),
        observers: kind === "election" ? [await client()] : [],
        ttl: { min: Number(ttl), max: Number(ttl) },
        workMs: 500,
        pause: () => {},
        note: () => {},
      }),
  ),
);
for (const workload of workloads) workload.start();
const beat = inner.every(100, () =>
  say({
    ...{ kind: "turns", turns: workloads.flatMap(({ turns }) => turns) },
    holds: workloads.some(({ tenures }) => tenures.some(({ until }) => until === Infinity)),
  }),
);

process.on("message", (_: ToContender) => void stop());
process.once("disconnect", () => process.exit(1));

async function stop(): Promise<void> {
  await Promise.all(workloads.map((workload) => workload.stop()));
  beat.cancel();
  for (const { kind, tenures, effects, observed, proclaimed, unexpected, errors } of workloads) {
    say({
      ...{
        kind: "records",
        of: kind,
        tenures,
        effects,
        proclaimed: [...proclaimed],
        errors: Object.fromEntries(errors),
      },
      observed: Object.fromEntries(Object.entries(observed).map(([name, seen]) => [`${label}${name}`, seen])),
      unexpected: unexpected.map(String),
    });
  }
  say({ kind: "done" });
}
