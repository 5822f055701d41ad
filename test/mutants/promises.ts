/** Rules of the Raft core by id, as promises: docs/reference/raft-notes.md, sections 4 and 13. */
const RULES: Readonly<Record<string, string>> = {
  O1: "one leader a term",
  O2: "logs agree",
  O3: "a leader has every committed entry",
  O4: "one history is applied",
  O5: "committed is durable on a quorum",
  O6: "promises are durable before they leave",
  O7: "what is committed stays",
  O8: "configurations follow from each other",
  O9: "reads see what was committed before",
  O11: "a healed group converges",
  O13: "equal index, equal state",
  U3: "a refused proposal is never executed",
  U4: "every proposal is answered",
  U5: "no proposal is executed twice",
  U6: "every read is answered",
  W10: "nothing is applied before it is durable here",
};

/** The rule that an error of the core's harness names, with what it promises; `undefined` for any other error. */
export function promiseOf(error: unknown): { readonly promise: string; readonly message: string } | undefined {
  const message = error instanceof Error ? error.message : String(error);
  if (message.includes("the group never comes to rest")) return { promise: `O11: ${RULES.O11}`, message };
  const rule = /^([A-Z]{1,2}\d+|kv-[a-z]+|lease-[a-z]+)\b/.exec(
    message.replace(/^.*an invariant was broken: /s, ""),
  )?.[1];
  if (rule === undefined) return undefined;
  const name = RULES[rule];
  return { promise: name === undefined ? `invariant ${rule}` : `${rule}: ${name}`, message };
}
