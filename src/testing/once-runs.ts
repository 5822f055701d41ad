/** Writes that bear names, of a simulated run: clients that are stopped, and what is asked of them at its end. */
import { randomInt } from "../base/prng.ts";
import type { Timer } from "../platform/clock.ts";
import { checkExactlyOnce, type OnceEffect } from "./checkers/exactly-once.ts";
import { type Verdict, violation } from "./checkers/verdict.ts";
import type { SimulatedCluster } from "./cluster.ts";
import { ONCE_RANGE, type OnceWorkload, onceEffect } from "./workloads/once.ts";
import type { SimulatedWorld } from "./world.ts";

/** Processes of clients are stopped for a while, as by SIGSTOP: what they had begun is settled without them. */
export function pauseClients(world: SimulatedWorld, clients: number): () => void {
  const random = world.random("client pauses");
  let timer: Timer;
  const next = (): void => {
    timer = world.clock.after(random() * 6_000, () => {
      const host = world.host(`client${randomInt(random, 0, clients - 1)}`);
      host.pause();
      world.clock.after(random() < 0.5 ? random() * 1_000 : random() * 8_000, () => host.resume());
      next();
    });
  };
  next();
  return () => timer.cancel();
}

/** Reads the whole history, revision by revision, and holds what the writers were told against it. */
export async function onceVerdicts(
  world: SimulatedWorld,
  cluster: SimulatedCluster,
  once: OnceWorkload,
): Promise<Readonly<Record<string, Verdict>>> {
  const server = cluster.server(cluster.names[0]!);
  if (server === undefined) return { "exactly once": violation("the member to ask is down") };
  const effects: OnceEffect[] = [];
  const last = server.figures().revision;
  for (let revision = 2; revision <= last; revision++) {
    const range = { kind: "range", ...ONCE_RANGE, serializable: true, minModRevision: revision } as const;
    const { result } = await world.settle(server.handle({ ...range, revision }, { timeoutMs: 5_000 }));
    if (result.kind !== "range") return { "exactly once": violation("another answer than asked for") };
    effects.push(...result.kvs.map(onceEffect));
  }
  return { "exactly once": checkExactlyOnce(once.operations, effects) };
}
