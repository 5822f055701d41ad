/** What a checker answers. "unknown" means that its bound was reached: it names the bound, and fails a run too. */
export type Verdict =
  | { readonly verdict: "ok" }
  | { readonly verdict: "violation"; readonly message: string }
  | { readonly verdict: "unknown"; readonly message: string };

export const OK: Verdict = { verdict: "ok" };

export function violation(message: string): Verdict {
  return { verdict: "violation", message };
}
