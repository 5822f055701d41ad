/** Which configuration follows from which (M1, M3). Deterministic: every member computes the same from the log. */
import type { MemberId } from "../base/ids.ts";
import { compareIds } from "../base/ids.ts";
import type { ConfChange, ConfState } from "./membership-types.ts";

export type ConfProblem = "joint" | "notJoint" | "noVoters" | "emptyConfiguration";

export type ConfResult =
  | { readonly ok: true; readonly conf: ConfState }
  | { readonly ok: false; readonly problem: ConfProblem };

export function isJoint(conf: ConfState): boolean {
  return conf.votersOutgoing.length > 0;
}

export function isVoter(conf: ConfState, id: MemberId): boolean {
  return conf.voters.includes(id) || conf.votersOutgoing.includes(id);
}

export function isMember(conf: ConfState, id: MemberId): boolean {
  return isVoter(conf, id) || conf.learners.includes(id) || conf.learnersNext.includes(id);
}

function sorted(ids: Iterable<MemberId>): MemberId[] {
  return [...ids].sort(compareIds);
}

/** Leaving: the outgoing half goes, and who waited to become a learner is one. */
function leave(conf: ConfState): ConfResult {
  if (!isJoint(conf)) return { ok: false, problem: "notJoint" };
  return {
    ok: true,
    conf: {
      voters: conf.voters,
      votersOutgoing: [],
      learners: sorted(new Set([...conf.learners, ...conf.learnersNext])),
      learnersNext: [],
      autoLeave: false,
    },
  };
}

/** The steps in order, onto the incoming half. `outgoing` is empty for a simple change. */
function withSteps(conf: ConfState, change: ConfChange, outgoing: readonly MemberId[]): ConfState {
  const voters = new Set(conf.voters);
  const learners = new Set(conf.learners);
  const learnersNext = new Set(conf.learnersNext);
  for (const { action, id } of change.steps) {
    if (action === "updateNode") continue;
    if (action === "addLearner" && !voters.has(id) && (learners.has(id) || learnersNext.has(id))) continue;
    voters.delete(id);
    learners.delete(id);
    learnersNext.delete(id);
    if (action === "addVoter") voters.add(id);
    // M1: a voter of the outgoing half cannot be a learner before that half is gone.
    else if (action === "addLearner") (outgoing.includes(id) ? learnersNext : learners).add(id);
  }
  return {
    voters: sorted(voters),
    votersOutgoing: outgoing,
    learners: sorted(learners),
    learnersNext: sorted(learnersNext),
    autoLeave: outgoing.length > 0,
  };
}

function votersChanged(before: ConfState, after: ConfState): number {
  let changed = 0;
  for (const id of before.voters) if (!after.voters.includes(id)) changed += 1;
  for (const id of after.voters) if (!before.voters.includes(id)) changed += 1;
  return changed;
}

/** M3. A change that changes nothing succeeds. */
export function changeConf(conf: ConfState, change: ConfChange): ConfResult {
  if (change.steps.length === 0) return leave(conf);
  if (isJoint(conf)) return { ok: false, problem: "joint" };
  const simple = withSteps(conf, change, []);
  if (simple.voters.length === 0) return { ok: false, problem: "noVoters" };
  if (change.transition === "auto" && votersChanged(conf, simple) <= 1) return { ok: true, conf: simple };
  if (conf.voters.length === 0) return { ok: false, problem: "emptyConfiguration" };
  return { ok: true, conf: withSteps(conf, change, conf.voters) };
}

/** V9: what is wrong with a configuration, if anything. */
export function confFault(conf: ConfState): string | undefined {
  for (const ids of [conf.voters, conf.votersOutgoing, conf.learners, conf.learnersNext]) {
    for (let i = 1; i < ids.length; i++) if (ids[i - 1]! >= ids[i]!) return "ids are not strictly ascending";
  }
  for (const id of conf.learners) if (isVoter(conf, id)) return "a learner votes";
  for (const id of conf.learnersNext) {
    if (!conf.votersOutgoing.includes(id)) return "learnersNext is no subset of the outgoing voters";
    if (conf.voters.includes(id)) return "a voter is also in learnersNext";
    if (conf.learners.includes(id)) return "a learner is also in learnersNext";
  }
  if (conf.voters.length === 0 && (isJoint(conf) || conf.learners.length > 0)) return "no voters";
  if (conf.autoLeave && !isJoint(conf)) return "autoLeave without a joint configuration";
  return undefined;
}
