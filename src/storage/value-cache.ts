/**
 * Values read or flushed lately, within a budget of bytes. Two halves: what is used moves to the young one; when that
 * is full, it becomes the old one, and what was old and unused is forgotten. No list to keep in order, no object per
 * value.
 */
const OVERHEAD_BYTES = 100;

export class ValueCache {
  readonly #halfBytes: number;
  #young = new Map<string, Uint8Array>();
  #old = new Map<string, Uint8Array>();
  #youngBytes = 0;

  constructor(budgetBytes: number) {
    this.#halfBytes = budgetBytes / 2;
  }

  get(name: string): Uint8Array | undefined {
    const young = this.#young.get(name);
    if (young !== undefined) return young;
    const old = this.#old.get(name);
    if (old !== undefined) this.set(name, old);
    return old;
  }

  set(name: string, value: Uint8Array): void {
    const bytes = name.length + value.length + OVERHEAD_BYTES;
    this.delete(name);
    // One that leaves no room for others is read again instead.
    if (bytes > this.#halfBytes / 4) return;
    if (this.#youngBytes + bytes > this.#halfBytes) {
      this.#old = this.#young;
      this.#young = new Map();
      this.#youngBytes = 0;
    }
    this.#young.set(name, value);
    this.#youngBytes += bytes;
  }

  delete(name: string): void {
    const young = this.#young.get(name);
    if (young !== undefined) {
      this.#young.delete(name);
      this.#youngBytes -= name.length + young.length + OVERHEAD_BYTES;
    }
    this.#old.delete(name);
  }
}
