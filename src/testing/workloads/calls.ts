/** Counts what a workload asked, and how it ended. */
import { StoreError } from "../../base/errors.ts";
import type { WorkloadCounts } from "./kv.ts";

export class Calls {
  readonly counts: WorkloadCounts = { invoked: 0, ok: 0, failed: 0, unknown: 0 };
  readonly errors: Map<string, number> = new Map();
  /** Errors without a name. */
  readonly unexpected: unknown[] = [];
  #inFlight = 0;

  get inFlight(): number {
    return this.#inFlight;
  }

  /** Never rejects. The answer, or the named error; `undefined` for one without a name. */
  async call<T>(call: () => Promise<T>): Promise<{ readonly value: T } | { readonly error: StoreError | undefined }> {
    this.counts.invoked += 1;
    this.#inFlight += 1;
    try {
      const value = await call();
      this.counts.ok += 1;
      return { value };
    } catch (error) {
      if (!StoreError.is(error)) {
        this.unexpected.push(error);
        return { error: undefined };
      }
      this.errors.set(error.code, (this.errors.get(error.code) ?? 0) + 1);
      if (error.outcome === "rejected") this.counts.failed += 1;
      else this.counts.unknown += 1;
      return { error };
    } finally {
      this.#inFlight -= 1;
    }
  }
}
