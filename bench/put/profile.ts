/** Reads V8's CPU profiles: which part of a member spent its time, by the file that the time was spent in or on behalf of. */

interface ProfileNode {
  readonly id: number;
  readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
  readonly children?: readonly number[];
}
export interface CpuProfile {
  readonly nodes: readonly ProfileNode[];
  readonly samples: readonly number[];
  /** Microseconds, each since the sample before; the first since `startTime`, which is the system's monotonic clock. */
  readonly timeDeltas: readonly number[];
  readonly startTime: number;
}

/** Only what was sampled between these times of `process.hrtime`, in microseconds. */
export function between(profile: CpuProfile, from: number, to: number): CpuProfile {
  const samples: number[] = [];
  const timeDeltas: number[] = [];
  let at = profile.startTime;
  for (const [i, id] of profile.samples.entries()) {
    at += profile.timeDeltas[i]!;
    if (at < from || at > to) continue;
    samples.push(id);
    timeDeltas.push(profile.timeDeltas[i]!);
  }
  return { ...profile, samples, timeDeltas };
}

export type Part =
  | "client socket: frames and requests"
  | "peer sockets: frames and messages"
  | "sockets: ws and the system"
  | "server: proposals, driver, router"
  | "raft"
  | "write-ahead log"
  | "LevelDB calls"
  | "state machine and keys"
  | "state: records, cache, flush"
  | "base: bytes, checksums"
  | "garbage collection"
  | "Node.js itself"
  | "other";

/** The first that matches the path below dist/, for our own; others by what they are. */
const OWN: readonly (readonly [RegExp, Part])[] = [
  [/\/dist\/transport\/(client-|watch-|deadline)/, "client socket: frames and requests"],
  [/\/dist\/protocol\//, "client socket: frames and requests"],
  [/\/dist\/transport\/node\//, "sockets: ws and the system"],
  [/\/dist\/transport\//, "peer sockets: frames and messages"],
  [/\/dist\/raft\/codec/, "peer sockets: frames and messages"],
  [/\/dist\/raft\//, "raft"],
  [/\/dist\/storage\/(wal|record|tail)\.js/, "write-ahead log"],
  [/\/dist\/platform\/node\/disk\.js|classic-level|abstract-level/, "LevelDB calls"],
  [/\/dist\/(storage|server\/flusher)/, "state: records, cache, flush"],
  [/\/dist\/machine\/(records|envelope)/, "state machine and keys"],
  [/\/dist\/(machine|kv|lease)\//, "state machine and keys"],
  [/\/dist\/(server|node)\//, "server: proposals, driver, router"],
  [/\/dist\/(base|platform)\//, "base: bytes, checksums"],
  [/node_modules\/ws\//, "sockets: ws and the system"],
  [/node_modules\/msgpackr/, "client socket: frames and requests"],
  [/^node:(internal\/)?(net|stream|http|_http|events|streams|stream_base_commons)/, "sockets: ws and the system"],
  [/^node:/, "Node.js itself"],
];
/** Waiting is no processor time. */
const IDLE = new Set(["(idle)", "(root)"]);

/** Of the time in which the processor was busy: shares that add up to 1. */
export function partsOf(profile: CpuProfile): Partial<Record<Part, number>> {
  const nodes = new Map(profile.nodes.map((node) => [node.id, node]));
  const parents = new Map<number, number>();
  for (const { id, children } of profile.nodes) for (const child of children ?? []) parents.set(child, id);
  const partOf = new Map<number, Part>();
  const find = (id: number): Part => {
    const known = partOf.get(id);
    if (known !== undefined) return known;
    const { callFrame } = nodes.get(id)!;
    let part: Part;
    if (callFrame.functionName === "(garbage collector)") part = "garbage collection";
    else {
      const own = OWN.find(([pattern]) => pattern.test(callFrame.url))?.[1];
      const parent = parents.get(id);
      // What the engine does in between is done for who called it.
      if (own !== undefined) part = own;
      else if (callFrame.functionName === "(program)") part = "Node.js itself";
      else part = parent === undefined ? "other" : find(parent);
    }
    partOf.set(id, part);
    return part;
  };
  const sums: Partial<Record<Part, number>> = {};
  const total = eachSample(profile, nodes, (node, us) => {
    const part = find(node.id);
    sums[part] = (sums[part] ?? 0) + us;
  });
  return Object.fromEntries(Object.entries(sums).map(([part, us]) => [part, us / total]));
}

/** Those that spent most themselves, with their shares. */
export function topFunctions(profile: CpuProfile, count: number): (readonly [string, number])[] {
  const nodes = new Map(profile.nodes.map((node) => [node.id, node]));
  const sums = new Map<string, number>();
  const total = eachSample(profile, nodes, ({ callFrame }, us) => {
    const { functionName, url, lineNumber } = callFrame;
    const file = url.replace(/^.*\/(dist|node_modules)\//, "");
    const name = file === "" ? functionName : `${functionName || "(anonymous)"} ${file}:${lineNumber + 1}`;
    sums.set(name, (sums.get(name) ?? 0) + us);
  });
  const sorted = [...sums].sort(([, a], [, b]) => b - a).slice(0, count);
  return sorted.map(([name, us]) => [name, us / total] as const);
}

/** Calls with each busy sample and its microseconds; their sum. */
function eachSample(
  { samples, timeDeltas }: CpuProfile,
  nodes: ReadonlyMap<number, ProfileNode>,
  visit: (node: ProfileNode, us: number) => void,
): number {
  let total = 0;
  for (const [i, id] of samples.entries()) {
    const node = nodes.get(id)!;
    if (IDLE.has(node.callFrame.functionName)) continue;
    const us = Math.max(0, timeDeltas[i]!);
    total += us;
    visit(node, us);
  }
  return Math.max(1, total);
}
