/** Contenders, observers and watchers of a simulated run, and what is asked of them at its end. */
import { randomInt } from "../base/prng.ts";
import type { Client } from "../client/client.ts";
import { checkFencing, type Effect, unguardedOverlaps } from "./checkers/fencing.ts";
import { checkObservations } from "./checkers/observations.ts";
import { OK, type Verdict, violation } from "./checkers/verdict.ts";
import { simulatedClient } from "./cluster.ts";
import { ConfigWorkload } from "./workloads/config.ts";
import { ContenderWorkload, landedEffects } from "./workloads/contenders.ts";
import type { SimulatedWorld } from "./world.ts";

/** Each contender's turn may be held up by the TTLs of others that died. */
const PROGRESS_MS = 90_000;
/** Longest virtual time in which watchers of a healed cluster have to catch up. */
const LIVENESS_MS = 30_000;

export interface Recipes {
  readonly clients: readonly Client[];
  readonly contenders?: ContenderWorkload;
  readonly config?: ConfigWorkload;
  readonly workload?: ContenderWorkload | ConfigWorkload;
}

/** Who contends, looks on or watches, each on a host of its own. */
export async function recipesOf(
  world: SimulatedWorld,
  urls: readonly string[],
  name: string,
  note: (note: string, detail: string) => void,
): Promise<Recipes> {
  const random = world.random("recipes");
  const some = (kind: string, count: number): Promise<Client[]> =>
    Promise.all(Array.from({ length: count }, (_, i) => simulatedClient(world, `${kind}${i}`, urls)));
  const kind = name === "lock" || name === "lock-service" ? "lock" : "election";
  if (name.startsWith(kind)) {
    const contending = await some("contender", randomInt(random, 3, 6));
    const observers = await some("observer", kind === "election" ? 3 : 0);
    const contenders = new ContenderWorkload({
      ...{ kind, clock: world.clock, random, clients: contending, observers, note },
      service: name !== kind,
      pause: (contender, paused) => {
        const host = world.host(`contender${contender}`);
        if (paused) host.pause();
        else host.resume();
      },
    });
    return { clients: [...contending, ...observers], contenders, workload: contenders };
  }
  if (name !== "config") return { clients: [] };
  const writers = await some("writer", 2);
  const watching = await some("watching", 6);
  const config = new ConfigWorkload({ random, writers, watchers: watching });
  return { clients: [...writers, ...watching], config, workload: config };
}

/** Nobody is stopped any more: everybody must get a turn again. */
export async function progress(world: SimulatedWorld, contenders: ContenderWorkload): Promise<Verdict> {
  contenders.thaw();
  const before = [...contenders.turns];
  const left = (): string[] => contenders.turns.flatMap((turns, i) => (turns === before[i] ? [`contender ${i}`] : []));
  await world.until(() => left().length === 0, PROGRESS_MS);
  return left().length === 0
    ? OK
    : violation(`no turn within ${PROGRESS_MS} ms after the faults ended: ${left().join(", ")}`);
}

export async function recipeVerdicts(
  world: SimulatedWorld,
  client: Client,
  { contenders, config }: Recipes,
  clocksRunFast: boolean,
): Promise<Readonly<Record<string, Verdict>>> {
  if (contenders !== undefined) {
    const { tenures, effects, stops } = contenders;
    const landed = await world.settle(landedEffects(client, contenders.kind));
    const { "one holder at a time": alone, ...guarded } = checkFencing({ tenures, effects, landed, stops });
    return {
      ...guarded,
      // A leader whose clock runs fast ends a session that its holder still counts on: only the guard helps then.
      ...(clocksRunFast || alone === undefined ? {} : { "one holder at a time": alone }),
      ...(Object.keys(contenders.observed).length === 0
        ? {}
        : { "observers see leaders in order": checkObservations(contenders.observed, contenders.proclaimed) }),
    };
  }
  if (config === undefined) return {};
  await world.until(() => config.caughtUp, LIVENESS_MS);
  const verdicts = config.verdicts();
  await world.settle(config.close());
  return verdicts;
}

export function figuresOf({ contenders, config }: Recipes): Readonly<Record<string, number>> {
  if (config !== undefined) return config.figures;
  if (contenders === undefined) return {};
  const { tenures, effects, stops } = contenders;
  const count = (outcome: Effect["outcome"]): number => effects.filter((effect) => effect.outcome === outcome).length;
  return {
    turns: tenures.length,
    ...{ lost: tenures.filter(({ lost }) => lost).length, stops: stops.length },
    ...{ landed: count("landed"), refused: count("refused"), unknown: count("unknown") },
    unguardedOverlaps: unguardedOverlaps(tenures),
  };
}
