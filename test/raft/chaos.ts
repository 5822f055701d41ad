/** A seed's worth of everything going wrong, then a group that is left alone and has to recover (O11). */
import type { MemberId } from "../../src/base/ids.ts";
import { type RandomSource, randomInt } from "../../src/base/prng.ts";
import { isMember, isVoter } from "../../src/raft/membership.ts";
import type { ConfChangeStep } from "../../src/raft/membership-types.ts";
import { Group, m, type SimNode, VETO } from "./group.ts";

interface Faults {
  readonly loss: number;
  readonly duplication: number;
  readonly reorder: number;
  readonly crash: number;
  readonly partition: number;
  readonly churn: number;
  readonly transfer: number;
  readonly snapshots: number;
  readonly slowDisk: number;
  readonly ambush: number;
}

/** Swarm: each seed has faults of its own, and some of them not at all. */
function drawFaults(random: RandomSource): Faults {
  const maybe = (most: number): number => (random() < 0.3 ? 0 : random() * most);
  return {
    loss: maybe(0.2),
    duplication: maybe(0.2),
    reorder: maybe(0.8),
    crash: maybe(0.02),
    partition: maybe(0.02),
    churn: maybe(0.03),
    transfer: maybe(0.02),
    snapshots: maybe(0.05),
    slowDisk: maybe(0.95),
    ambush: maybe(0.03),
  };
}

export function chaos(seed: number, steps: number): Group {
  const voters = seed % 2 === 0 ? 3 : 5;
  const group = new Group({
    voters,
    seed,
    manual: true,
    writesMax: (seed % 3) + 1,
    config: {
      electionTicks: [4, 10][(seed >> 2) % 2]!,
      heartbeatTicks: 1 + ((seed >> 3) % 2),
      maxMessageBytes: [64, 256, 4096][seed % 3]!,
      inflightCountMax: [1, 2, 8][(seed >> 1) % 3]!,
      inflightBytesMax: 4096,
      applyBytesMax: [32, 4096][seed % 2]!,
      uncommittedBytesMax: 400,
    },
  });
  const { random } = group;
  const faults = drawFaults(random);
  for (let i = 0; i < steps; i++) moment(group, random, faults, voters + 2);
  recover(group);
  return group;
}

function pick<T>(random: RandomSource, from: readonly T[]): T | undefined {
  return from[Math.floor(random() * from.length)];
}

function moment(group: Group, random: RandomSource, faults: Faults, most: number): void {
  const { network } = group;
  const anyone = (): SimNode | undefined => pick(random, group.up);
  if (random() < faults.crash) crashOrRestart(group, random);
  // Whatever brought it down: a group that lies still shows nothing.
  if (random() < 0.01) {
    const down = pick(
      random,
      [...group.nodes.values()].filter(({ up }) => !up),
    );
    if (down !== undefined) group.restart(down.id);
  }
  if (random() < faults.partition) partition(group, random);
  if (random() < faults.churn) churn(group, random, most);
  if (random() < faults.transfer) {
    const leader = group.leader();
    const target = m(randomInt(random, 1, most));
    if (leader !== undefined) group.act(leader.id, (raft) => raft.transferLeader(target));
  }
  if (random() < faults.snapshots) {
    const node = anyone();
    if (node !== undefined) {
      group.flush(node);
      group.release(node, randomInt(random, 0, 3));
    }
  }
  if (random() < faults.ambush) ambush(group, random, most);
  const dice = random();
  // Whoever believes that it leads is where stale answers come from.
  const leads = group.up.filter(({ raft }) => raft.status().role === "leader");
  const node = leads.length > 0 && dice > 0.92 && random() < 0.5 ? pick(random, leads) : anyone();
  if (dice < 0.55 && network.length > 0) deliverSome(group, random, faults);
  else if (node === undefined) return;
  else if (dice < 0.7) group.tick(node.id);
  else if (dice < 0.85) {
    // Odd members have the slow disks.
    if (Number(node.id) % 2 === 0 || random() >= faults.slowDisk) group.completeWrite(node);
  } else if (dice < 0.92) group.apply(node, randomInt(random, 1, 4));
  else if (dice < 0.96) group.propose(node.id);
  else if (dice < 0.98) group.read(node.id);
  else if (dice < 0.982) group.act(node.id, (raft) => raft.forgetLeader());
  else if (dice < 0.985) group.act(node.id, (raft) => raft.campaign());
  else if (dice < 0.99) {
    const peer = m(randomInt(random, 1, most));
    group.act(node.id, (raft) => raft.unreachable(peer));
  }
}

function deliverSome(group: Group, random: RandomSource, faults: Faults): void {
  const { network } = group;
  // Everything that piles up in a test with slow delivery would be read as one long partition.
  while (network.length > 200) group.deliver(0);
  const at = random() < faults.reorder ? Math.floor(random() * network.length) : 0;
  const packet = network[at];
  if (packet === undefined) return;
  if (random() < faults.loss) {
    if (packet.data === undefined) network.splice(at, 1);
    return;
  }
  // Proposals travel at most once: the host's connections repeat nothing.
  const { kind } = packet.message;
  const once = packet.data !== undefined || kind === "forwardPropose" || kind === "proposeRefused";
  group.deliver(at, !once && random() < faults.duplication);
}

function crashOrRestart(group: Group, random: RandomSource): void {
  const down = [...group.nodes.values()].filter((node) => !node.up);
  if (down.length > 0 && random() < 0.6) {
    group.restart(pick(random, down)!.id);
    return;
  }
  // Right after a vote or the first append of a term is where crashes hurt most: prefer who is writing.
  const writing = group.up.filter((node) => node.writing.length > 0);
  const victim = pick(random, writing.length > 0 && random() < 0.7 ? writing : group.up);
  if (victim !== undefined) group.crash(victim.id, randomInt(random, 0, victim.writing.length));
}

function partition(group: Group, random: RandomSource): void {
  group.heal();
  const ids = [...group.nodes.keys()];
  const kind = random();
  if (kind < 0.35) return;
  if (kind < 0.6) {
    const left = new Set(ids.filter(() => random() < 0.5));
    for (const a of ids) for (const b of ids) if (left.has(a) !== left.has(b)) group.blocked.add(`${a}>${b}`);
  } else if (kind < 0.8) {
    for (const a of ids) for (const b of ids) if (a !== b && random() < 0.25) group.blocked.add(`${a}>${b}`);
  } else {
    const leader = group.leader();
    if (leader !== undefined) group.isolate(leader.id);
  }
}

/**
 * The rest of the group goes on while `paused` stand still: their packets wait, their disks too. Chance alone would need
 * very long runs to let a leader sleep through the term of its successor.
 */
export function runWithout(group: Group, paused: ReadonlySet<MemberId>, rounds: number): void {
  for (let round = 0; round < rounds; round++) {
    const awake = group.up.filter(({ id }) => !paused.has(id));
    for (const node of awake) group.tick(node.id);
    for (let i = 0; i < 60; i++) {
      const next = group.network.findIndex(({ from, to }) => !paused.has(from) && !paused.has(to));
      if (next === -1) break;
      group.deliver(next);
      for (const node of awake) if (node.up && node.writing.length > 0) group.completeWrite(node);
    }
    for (const node of awake) if (node.up) group.apply(node, 2);
  }
}

/** Several faults at the moment when they hurt most. */
function ambush(group: Group, random: RandomSource, most: number): void {
  const leader = group.leader();
  const kind = random();
  const rounds = randomInt(random, 1, 25);
  if (kind < 0.3) {
    // A leader falls asleep with entries that nobody has and reads that nobody confirmed, and wakes up in another term.
    if (leader === undefined) return;
    if (random() < 0.5) group.readAll(leader.id, 2);
    for (let i = randomInt(random, 0, 5); i > 0; i--) group.propose(leader.id);
    const paused = new Set([leader.id]);
    if (random() < 0.3) paused.add(m(randomInt(random, 1, most)));
    runWithout(group, paused, rounds);
    group.propose(leader.id);
    group.read(leader.id);
  } else if (kind < 0.5) {
    const paused = new Set([m(randomInt(random, 1, most)), m(randomInt(random, 1, most))]);
    runWithout(group, paused, rounds);
  } else if (kind < 0.65) {
    // Power failure. Somebody is up first.
    for (const node of group.up) if (random() < 0.8) group.crash(node.id, randomInt(random, 0, node.writing.length));
    for (const node of group.nodes.values()) if (random() < 0.8) group.restart(node.id);
    const first = pick(random, group.up);
    if (first !== undefined) group.act(first.id, (raft) => raft.campaign());
  } else if (kind < 0.8) {
    // A leader dies with the first entries of its term, and comes back at once.
    if (leader === undefined) return;
    group.propose(leader.id);
    for (let i = randomInt(random, 0, 6); i > 0 && group.network.length > 0; i--)
      group.deliver(group.network.length - 1);
    group.crash(leader.id, randomInt(random, 0, leader.writing.length));
    if (random() < 0.7) group.restart(leader.id);
    const rival = pick(random, group.up);
    if (rival !== undefined) group.act(rival.id, (raft) => raft.campaign());
  } else {
    // Out and in again, before the answers of the first time have arrived; or two changes at once.
    if (leader === undefined) return;
    const id = m(randomInt(random, 1, most));
    const again = random() < 0.5 ? "addVoter" : "addLearner";
    group.change(leader.id, { steps: [{ action: "remove", id }] });
    runWithout(group, new Set(random() < 0.5 ? [id] : []), randomInt(random, 0, 3));
    group.change(group.leader()?.id ?? leader.id, { steps: [{ action: again, id }] });
    runWithout(group, new Set(random() < 0.5 ? [id] : []), randomInt(random, 0, 3));
  }
}

function churn(group: Group, random: RandomSource, most: number): void {
  const node = pick(random, group.up);
  if (node === undefined) return;
  const steps: ConfChangeStep[] = [];
  const actions = ["addVoter", "addVoter", "addLearner", "remove"] as const;
  for (let i = randomInt(random, 1, 2); i > 0; i--) {
    steps.push({ action: pick(random, actions)!, id: m(randomInt(random, 1, most)) });
  }
  const transition = random() < 0.8 ? "auto" : "joint";
  const veto = random() < 0.1 ? { context: VETO } : {};
  group.change(node.id, { steps, transition, ...veto });
}

function members(group: Group, leader: SimNode): SimNode[] {
  return [...group.nodes.values()].filter((node) => isMember(leader.raft.conf, node.id));
}

function converged(group: Group): boolean {
  const leader = group.leader();
  if (leader === undefined || !isVoter(leader.raft.conf, leader.id)) return false;
  const status = leader.raft.status();
  if (status.commit !== status.lastIndex || status.conf.votersOutgoing.length > 0) return false;
  // Reads and writes are refused until it is over.
  if (status.leadTransferee !== undefined) return false;
  if (status.progress.some((peer) => peer.id !== leader.id && peer.state !== "replicate")) return false;
  return members(group, leader).every((node) => {
    const { commit, leader: followed, applied } = node.raft.status();
    return commit === status.commit && applied === commit && followed === leader.id;
  });
}

/** Faults stop. One leader, everybody alike, every new ref answered. */
export function recover(group: Group): void {
  group.heal();
  for (const node of group.nodes.values()) group.restart(node.id);
  group.settle();
  // The host flushes about once a second: a snapshot from before a member joined is of no use to it (N8).
  const flushed = (): boolean => {
    for (const node of group.up) group.flush(node);
    return converged(group);
  };
  group.until(flushed, "convergence", 800);
  const leader = group.leader()!;
  // U2, B41: more in all than the bound allows at once, so a byte that is never given back shows.
  for (let i = 0; i < 12; i++) {
    const ref = group.propose(leader.id, `p${group.nextRef}`.padEnd(80, "."));
    group.settle();
    if (!group.placed.has(ref)) throw new Error(`U2: write ${ref} was refused: ${group.dropped.get(ref)}`);
  }
  const asked: { readonly id: MemberId; readonly write: number; readonly read: number }[] = [];
  for (const node of members(group, leader)) {
    asked.push({ id: node.id, write: group.propose(node.id), read: group.read(node.id) });
  }
  group.settle();
  // The echo that a read of before waits for may have been lost: the next heartbeat asks again (R2).
  const answered = (): boolean => converged(group) && asked.every(({ read }) => group.reads.has(read));
  group.until(answered, "convergence after writes", 100);
  for (const { id, write, read } of asked) {
    if (group.reads.get(read)?.index === undefined) throw new Error(`O11: read ${read} at ${id} was not served`);
    const text = `normal ${group.payloads.get(write)}`;
    const terms = group.oracle.committedTerms;
    if (!terms.some((_, index) => group.oracle.textAt(index) === text)) throw new Error(`O11: write ${write} is lost`);
  }
  const { applied, hash } = leader.machine;
  for (const node of members(group, leader)) {
    if (node.machine.applied !== applied || node.machine.hash !== hash) throw new Error(`O13: ${node.id} differs`);
  }
  checkOutcomes(group);
}

/** U3: a refused proposal certainly did not happen; a placed one is what was committed at its place, if its term is. */
function checkOutcomes(group: Group): void {
  const committed = new Set<string>();
  const { oracle } = group;
  for (let index = 1; index < oracle.committedTerms.length; index++) {
    const text = oracle.textAt(index);
    if (text === undefined) continue;
    if (text.startsWith("normal p") && committed.has(text)) throw new Error(`U5: ${text} committed twice`);
    committed.add(text);
  }
  for (const ref of group.dropped.keys()) {
    const payload = group.payloads.get(ref);
    if (payload !== undefined && committed.has(`normal ${payload}`)) throw new Error(`U3: ${payload} was refused`);
  }
  for (const [ref, { index, term }] of group.placed) {
    const payload = group.payloads.get(ref);
    if (payload === undefined || oracle.committedTerms[index] !== term) continue;
    if (oracle.textAt(index) !== `normal ${payload}`) throw new Error(`U4: ${payload} is not at ${index}`);
  }
}
