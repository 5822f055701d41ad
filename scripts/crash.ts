/** `npm run crash`: kills the leader (or, with --all, every member) of a real cluster under writes, round after round. */
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { connect } from "../src/node/connect.ts";
import { DEFAULTS } from "../src/server/options.ts";
import { count } from "./arguments.ts";
import { agreedLeader, GIVE_UP_MS, torment, until } from "./cluster.ts";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "20" },
    writers: { type: "string", default: "50" },
    all: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});
const rounds = count(values.rounds, "rounds");
const writerCount = count(values.writers, "writers");
const ELECTION_MS = DEFAULTS.electionTimeoutMs;

const violations: string[] = [];
const failovers: number[] = [];
const code = await torment("crash", violations, async ({ ready, endpoints, pids, said }) => {
  await using client = await connect({ endpoints });
  const acknowledged = new Map<string, string>();
  let onAck: (begun: number) => void = () => {};
  let stopped = false;
  const writers = Array.from({ length: writerCount }, async (_, w) => {
    for (let n = 0; !stopped; n++) {
      const key = `crash/${w}/${n}`;
      const begun = performance.now();
      try {
        await client.put(key, `${key}=${n}`, { timeoutMs: 5_000 });
        acknowledged.set(key, `${key}=${n}`);
        onAck(begun);
      } catch {
        // Unknown or refused: nothing is claimed about this key, and it is never written again.
        await delay(5);
      }
    }
  });

  for (let round = 1; round <= rounds; round++) {
    await delay(500);
    const leader = await agreedLeader(client, ready);
    const victims = values.all ? ready.members.map((member) => member.name) : [leader];
    const old = victims.map((name) => pids.get(name)!);
    const killedAt = performance.now();
    // A write that began after the kill cannot owe its acknowledgement to the dead leader.
    const next = new Promise<number>((resolve) => {
      onAck = (begun) => begun > killedAt && resolve(performance.now());
    });
    for (const pid of old) process.kill(pid, "SIGKILL");
    const at = await Promise.race([next, delay(GIVE_UP_MS, undefined, { ref: false })]);
    if (at === undefined) {
      violations.push(`round ${round}: no acknowledged write within ${GIVE_UP_MS} ms`);
      break;
    }
    failovers.push((at - killedAt) / ELECTION_MS);
    process.stderr.write(
      `round ${round}: killed ${victims.join(", ")}, first write after ${Math.round(at - killedAt)} ms\n`,
    );
    await until(
      () => victims.every((name, i) => pids.get(name) !== old[i]),
      `round ${round}: restart of ${victims.join(", ")}`,
    );
    await agreedLeader(client, ready);
  }
  stopped = true;
  await Promise.all(writers);
  if (failovers.length < rounds) violations.push(`too few faults: ${failovers.length} of ${rounds} rounds of kills`);

  for (const [key, value] of acknowledged) {
    const { kvs } = await client.get(key);
    const found = kvs[0] === undefined ? undefined : new TextDecoder().decode(kvs[0].value);
    if (found !== value) violations.push(`acknowledged ${key} is ${found === undefined ? "lost" : `"${found}"`}`);
  }
  const { header } = await client.get("crash/", { prefix: true, countOnly: true });
  let hashes: number[] = [];
  const limit = performance.now() + 30_000;
  do {
    const answers = await Promise.all(
      endpoints.map((at) =>
        client.hashKv(at, { revision: header.revision, timeoutMs: 60_000 }).catch((error: unknown) => {
          said.push(`hash of ${at}: ${String(error)}`);
          return undefined;
        }),
      ),
    );
    hashes = answers.flatMap((answer) => (answer === undefined ? [] : [answer.hash]));
    if (hashes.length < endpoints.length) await delay(100);
  } while (hashes.length < endpoints.length && performance.now() < limit);
  if (hashes.length < endpoints.length) violations.push("not every member answered with a hash");
  if (new Set(hashes).size > 1) violations.push(`hashes differ at revision ${header.revision}: ${hashes.join(", ")}`);
  const sorted = [...failovers].sort((a, b) => a - b);
  const median = sorted[Math.floor((sorted.length - 1) / 2)] ?? 0;
  const worst = sorted.at(-1) ?? 0;
  // With every member gone, the restart of three processes is in the figure: it is reported, not judged.
  if (!values.all && median > 1)
    violations.push(`median fail-over is ${median.toFixed(2)} election timeouts (at most 1)`);
  if (!values.all && worst > 3) violations.push(`worst fail-over is ${worst.toFixed(2)} election timeouts (at most 3)`);
  const figures = {
    rounds: failovers.length,
    acknowledged: acknowledged.size,
    electionTimeoutMs: ELECTION_MS,
    median,
    worst,
    failovers,
    hashes,
    violations,
  };
  if (values.json) process.stdout.write(`${JSON.stringify(figures)}\n`);
  else
    process.stdout.write(
      `rounds ${figures.rounds}  acknowledged ${figures.acknowledged}  fail-over median ${median.toFixed(2)}, worst ${worst.toFixed(2)} election timeouts\n`,
    );
});
process.exit(code);
