/** Equal applied index, equal state: whoever applied the same entries holds the same bytes, across restarts as well. */
import { OK, type Verdict, violation } from "./verdict.ts";

export interface HashSample {
  readonly member: string;
  readonly time: number;
  readonly applied: number;
  readonly stateHash: string;
}

export class HashAgreement {
  readonly #first = new Map<number, HashSample>();
  #verdict: Verdict = OK;
  #compared = 0;

  add(sample: HashSample): void {
    const first = this.#first.get(sample.applied);
    if (first === undefined) {
      this.#first.set(sample.applied, sample);
      return;
    }
    if (first.member !== sample.member) this.#compared++;
    if (first.stateHash === sample.stateHash || this.#verdict.verdict !== "ok") return;
    this.#verdict = violation(
      `different states at applied index ${sample.applied}: ${first.member} has ${first.stateHash} (at ${first.time.toFixed(1)} ms), ` +
        `${sample.member} has ${sample.stateHash} (at ${sample.time.toFixed(1)} ms)`,
      [first, sample].map(
        (one) => `${one.time.toFixed(1)} ms: ${one.member} at index ${one.applied}: ${one.stateHash}`,
      ),
    );
  }

  /** Comparisons made between different members: a run that makes none has shown nothing. */
  get compared(): number {
    return this.#compared;
  }

  verdict(): Verdict {
    return this.#verdict;
  }
}

export function checkHashAgreement(samples: readonly HashSample[]): Verdict {
  const agreement = new HashAgreement();
  for (const sample of samples) agreement.add(sample);
  return agreement.verdict();
}
