/** Who gets a vote: the whole decision as one table (E5, P2, E11). */
import { describe, expect, test } from "vitest";
import { term } from "../../src/base/ids.ts";
import { type Candidacy, decideVote, type Voter } from "../../src/raft/vote.ts";
import { at, m } from "./core.ts";

const voter: Voter = {
  term: term(5),
  votedFor: undefined,
  leader: undefined,
  sticky: false,
  last: { term: term(4), index: at(9) },
};
const request: Candidacy = { candidate: m(2), term: term(5), preVote: false, last: { term: term(4), index: at(9) } };

const CASES: readonly [string, Partial<Voter>, Partial<Candidacy>, string][] = [
  ["an equal log gets it", {}, {}, "grant"],
  ["a longer log of the same term gets it", {}, { last: { term: term(4), index: at(10) } }, "grant"],
  ["a shorter log of a later term gets it", {}, { last: { term: term(5), index: at(1) } }, "grant"],
  ["a shorter log of the same term does not", {}, { last: { term: term(4), index: at(8) } }, "log-behind"],
  ["a longer log of an earlier term does not", {}, { last: { term: term(3), index: at(99) } }, "log-behind"],
  ["an earlier term does not", {}, { term: term(4) }, "stale-term"],
  ["a second candidate does not", { votedFor: m(3) }, {}, "already-voted"],
  ["the same candidate does, again", { votedFor: m(2) }, {}, "grant"],
  [
    "B12: the same candidate does not once its log is behind",
    { votedFor: m(2) },
    { last: { term: term(4), index: at(8) } },
    "log-behind",
  ],
  ["nobody does while a leader of the term is known", { leader: m(3) }, {}, "already-voted"],
  ["the same candidate does even while a leader is known", { leader: m(2), votedFor: m(2) }, {}, "grant"],
  ["a real vote for a later term is for the caller to adopt first", {}, { term: term(6) }, "stale-term"],
  ["P2: a pre-vote for the next term does", {}, { preVote: true, term: term(6) }, "grant"],
  ["P2: whoever was voted for in this one", { votedFor: m(3) }, { preVote: true, term: term(6) }, "grant"],
  ["P2: a pre-vote for this term is held to its vote", { votedFor: m(3) }, { preVote: true }, "already-voted"],
  [
    "P2: a pre-vote is no use with a log behind",
    {},
    { preVote: true, term: term(6), last: { term: term(4), index: at(8) } },
    "log-behind",
  ],
  ["P2: a pre-vote of an earlier term does not", {}, { preVote: true, term: term(4) }, "stale-term"],
  [
    "E11: a pre-vote does not while the leader is well",
    { sticky: true, leader: m(3) },
    { preVote: true, term: term(6) },
    "sticky-leader",
  ],
];

describe("decideVote", () => {
  test.each(CASES)("%s", (_, who, what, expected) => {
    const decision = decideVote({ ...voter, ...who }, { ...request, ...what });
    expect(decision.kind === "grant" ? "grant" : decision.reason).toBe(expected);
  });
});
