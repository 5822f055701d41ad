/** What a checker answers. "unknown" means that its bound was reached: it names the bound, and fails a run too. */
export type Verdict =
  | { readonly verdict: "ok" }
  /** `fragment`: the smallest piece of history known to show it, a line each. */
  | { readonly verdict: "violation"; readonly message: string; readonly fragment?: readonly string[] }
  | { readonly verdict: "unknown"; readonly message: string };

export const OK: Verdict = { verdict: "ok" };

export function violation(message: string, fragment?: readonly string[]): Verdict {
  return fragment === undefined ? { verdict: "violation", message } : { verdict: "violation", message, fragment };
}
