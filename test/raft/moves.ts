/** One thing that happens to a group, as plain data: fast-check can draw it, print it, and leave it out. */
import fc from "fast-check";
import type { MemberId } from "../../src/base/ids.ts";
import type { ConfChangeStep } from "../../src/raft/membership-types.ts";
import { runWithout } from "./chaos.ts";
import { type Group, m } from "./group.ts";

export type Move =
  | { readonly kind: "deliver" | "duplicate" | "lose"; readonly at: number }
  | { readonly kind: "write" | "apply" | "propose" | "read" | "campaign" | "restart" | "isolate"; readonly n: number }
  | { readonly kind: "tick" | "crash" | "release"; readonly n: number; readonly count: number }
  | { readonly kind: "cut" | "transfer" | "unreachable"; readonly n: number; readonly other: number }
  | { readonly kind: "change"; readonly n: number; readonly steps: readonly ConfChangeStep[]; readonly joint: boolean }
  | { readonly kind: "run"; readonly ticks: number }
  /** Messages pass in order and disks work, but for one member's. */
  | { readonly kind: "flow"; readonly count: number; readonly stalled: number }
  /** One member stands still with its packets while the others go on. */
  | { readonly kind: "sleep"; readonly n: number; readonly ticks: number }
  /** A read and a write at everybody who believes that it leads. */
  | { readonly kind: "ask" }
  | { readonly kind: "heal" };

/** Any move on a group of `size` members, two more of which may join. */
export function anyMove(size: number): fc.Arbitrary<Move> {
  const n = fc.integer({ min: 1, max: size + 2 });
  const kind = <K extends Move["kind"]>(...kinds: K[]): fc.Arbitrary<K> => fc.constantFrom(...kinds);
  const step = fc.record({
    action: fc.constantFrom("addVoter" as const, "addLearner" as const, "remove" as const),
    id: n.map(m),
  });
  return fc.oneof(
    { weight: 8, arbitrary: fc.record({ kind: kind("deliver", "duplicate"), at: fc.nat(99) }) },
    { weight: 2, arbitrary: fc.record({ kind: kind("lose"), at: fc.nat(99) }) },
    { weight: 8, arbitrary: fc.record({ kind: kind("write", "apply", "propose", "read"), n }) },
    { weight: 3, arbitrary: fc.record({ kind: kind("campaign", "campaign", "restart", "isolate"), n }) },
    { weight: 3, arbitrary: fc.record({ kind: kind("tick", "crash", "release"), n, count: fc.nat(3) }) },
    { weight: 3, arbitrary: fc.record({ kind: kind("cut", "transfer", "unreachable"), n, other: n }) },
    {
      weight: 2,
      arbitrary: fc.record({
        kind: kind("change"),
        n,
        steps: fc.array(step, { minLength: 1, maxLength: 2 }),
        joint: fc.boolean(),
      }),
    },
    { weight: 4, arbitrary: fc.record({ kind: kind("run"), ticks: fc.integer({ min: 1, max: 15 }) }) },
    { weight: 6, arbitrary: fc.record({ kind: kind("flow"), count: fc.integer({ min: 1, max: 40 }), stalled: n }) },
    { weight: 2, arbitrary: fc.record({ kind: kind("sleep"), n, ticks: fc.integer({ min: 1, max: 25 }) }) },
    { weight: 6, arbitrary: fc.record({ kind: kind("ask") }) },
    { weight: 2, arbitrary: fc.record({ kind: kind("heal") }) },
  );
}

export function perform(group: Group, move: Move): void {
  const { network } = group;
  const node = "n" in move ? group.nodes.get(m(move.n)) : undefined;
  const id: MemberId | undefined = node?.id;
  switch (move.kind) {
    case "deliver":
    case "duplicate": {
      const packet = network[move.at % Math.max(1, network.length)];
      if (packet === undefined) return;
      // Proposals and streams travel at most once: the host's connections repeat nothing.
      const { kind } = packet.message;
      const once = packet.data !== undefined || kind === "forwardPropose" || kind === "proposeRefused";
      group.deliver(network.indexOf(packet), move.kind === "duplicate" && !once);
      return;
    }
    case "lose": {
      const packet = network[move.at % Math.max(1, network.length)];
      // The host hears how each stream ends.
      if (packet !== undefined && packet.data === undefined) network.splice(network.indexOf(packet), 1);
      return;
    }
    case "run":
      for (let i = 0; i < move.ticks; i++) {
        for (const each of group.up) group.tick(each.id);
        group.settle();
      }
      return;
    case "flow":
      for (let i = 0; i < move.count; i++) {
        for (const each of group.up) {
          if (each.writing.length > 0 && i % 3 === 0 && each.id !== m(move.stalled)) group.completeWrite(each);
        }
        if (network.length > 0) group.deliver(0);
      }
      return;
    case "sleep":
      runWithout(group, new Set([m(move.n)]), move.ticks);
      return;
    case "ask":
      for (const each of group.up) {
        if (each.raft.status().role !== "leader") continue;
        group.read(each.id);
        group.propose(each.id);
      }
      return;
    case "heal":
      group.heal();
      return;
    case "cut":
      if (move.n !== move.other) group.blocked.add(`${move.n}>${move.other}`);
      return;
    case "transfer": {
      const leader = group.leader();
      if (leader !== undefined) group.act(leader.id, (raft) => raft.transferLeader(m(move.other)));
      return;
    }
  }
  if (node === undefined || id === undefined) return;
  switch (move.kind) {
    case "write":
      if (node.up) group.completeWrite(node);
      return;
    case "apply":
      if (node.up) group.apply(node, 1);
      return;
    case "propose":
      if (node.up) group.propose(id);
      return;
    case "read":
      if (node.up) group.read(id);
      return;
    case "campaign":
      group.act(id, (raft) => raft.campaign());
      return;
    case "restart":
      group.restart(id);
      return;
    case "isolate":
      group.isolate(id);
      return;
    case "tick":
      group.tick(id, move.count + 1);
      return;
    case "crash":
      group.crash(id, Math.min(move.count, node.writing.length));
      return;
    case "release":
      if (!node.up) return;
      group.flush(node);
      group.release(node, move.count);
      return;
    case "unreachable":
      group.act(id, (raft) => raft.unreachable(m(move.other)));
      return;
    case "change":
      if (node.up) group.change(id, { steps: move.steps, transition: move.joint ? "joint" : "auto" });
  }
}
