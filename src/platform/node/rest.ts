/**
 * Memory given back at rest. Under load V8 lets its young generation grow to 32 MB, and makes it smaller only when it
 * collects it while little is allocated: a member at rest would fill it for a minute first. Collecting it costs what
 * survives, not what the heap holds, so it is as short with a million keys as with none. The old generation is V8's to collect
 * step by step beside the program; a small one is told to begin, a large one is left alone, for the last step grows with what lives.
 * For a process that is a member's alone: in another's it is not ours to do.
 */
import { getHeapSpaceStatistics, setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { Clock, Timer } from "../clock.ts";

const LOOK_MS = 5_000;
/** Of a processor, at most, at rest: ticks and heartbeats take 2 to 3 %. */
const REST_SHARE = 0.1;
/** Less than this is not worth a look: V8 begins with 1 MB, and ticks alone let it have 2. */
const WORTH_BYTES = 4 << 20;
/** The last step took 2 to 19 ms with 15 MB beside two other members on two cores, 80 ms with 170 MB. */
const SMALL_BYTES = 32 << 20;

export interface Engine {
  /** Processor time as a share of the time since the last call. Not the loop's: on a machine that others keep busy it waits for them. */
  busyShare(): number;
  /** Memory that the young generation holds, used or not. */
  youngBytes(): number;
  /** What the old generation uses. */
  oldBytes(): number;
  /** The young generation at once; if asked to, the old one in steps from now on. */
  collect(what: { readonly old: boolean }): void;
}

/**
 * Looks every five seconds, and collects where those were a rest. V8 judges how little is allocated from one collection to
 * the next, so after a load it may take two or three until the memory is given back.
 */
export function giveBackAtRest(clock: Clock, engine: Engine): Timer {
  return clock.every(LOOK_MS, () => {
    if (engine.busyShare() >= REST_SHARE || engine.youngBytes() <= WORTH_BYTES) return;
    engine.collect({ old: engine.oldBytes() <= SMALL_BYTES });
  });
}

/** `undefined` where V8 offers no collection. */
export function v8Engine(): Engine | undefined {
  // Contexts made from here on have it; the others, and so all that a program sees, do not.
  setFlagsFromString("--expose-gc");
  const collect: unknown = runInNewContext("globalThis.gc");
  setFlagsFromString("--no-expose-gc");
  if (typeof collect !== "function") return undefined;
  const space = (name: string) => getHeapSpaceStatistics().find(({ space_name }) => space_name === name);
  let lastUsage = process.cpuUsage();
  let lastTime = performance.now();
  return {
    busyShare: () => {
      const { user, system } = process.cpuUsage(lastUsage);
      const time = performance.now();
      const share = (user + system) / 1_000 / (time - lastTime);
      lastUsage = process.cpuUsage();
      lastTime = time;
      return share;
    },
    youngBytes: () => space("new_space")?.physical_space_size ?? 0,
    oldBytes: () => space("old_space")?.space_used_size ?? 0,
    collect: ({ old }) => {
      // After a young collection V8 looks by how many per cent of what it may the old generation has grown.
      if (old) setFlagsFromString("--incremental-marking-hard-trigger=1");
      collect({ type: "minor" });
      if (old) setFlagsFromString("--incremental-marking-hard-trigger=0");
    },
  };
}
