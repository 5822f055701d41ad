/** Seeds that once failed, each with one line on what it found. They stay for ever. */
import type { SimOptions } from "../../src/testing/index.ts";

export const REGRESSIONS: readonly (SimOptions & { readonly found: string })[] = [
  { seed: 3, found: "a repeated frame with a forwarded proposal was placed twice: a put applied twice" },
  { seed: 2_556_289_919, found: "the same, through another run of faults" },
  {
    ...{ seed: 3_917_678_931, workload: "election" },
    found: "a leader whose resignation had no answer led on with its own token, which the checker took for a violation",
  },
  {
    ...{ seed: 3_568_948_196, workload: "watches" },
    found: "the leader, whose own disk was slow, applied after its followers: the end was looked for on it alone",
  },
  {
    ...{ seed: 727_453_356, workload: "election-service" },
    found: "a guest whose disk was full when it was removed: its end was taken for one that no fault explains",
  },
  {
    ...{ seed: 1_077_612_798, workload: "leases" },
    found: "a member that was still a learner at the end was asked for its leases, which learners do not tell",
  },
];
