/** A running hash of everything that happens in a simulated world: two runs of one seed must end with the same one. */
export class Trace {
  #low = 0xdeadbeef;
  #high = 0x41c6ce57;
  #lines = 0;
  /** The lines themselves, where somebody wants to compare two runs line by line. */
  readonly lines: string[] | undefined;

  constructor(options: { readonly keep?: boolean } = {}) {
    this.lines = options.keep === true ? [] : undefined;
  }

  get length(): number {
    return this.#lines;
  }

  add(line: string): void {
    this.#lines++;
    this.lines?.push(line);
    for (let i = 0; i < line.length; i++) this.number(line.charCodeAt(i));
    this.number(10);
  }

  /** Mixes in one number: its 64 bits as two halves would be dearer and show no more. */
  number(value: number): void {
    this.#low = Math.imul(this.#low ^ value, 0x9e3779b1);
    this.#high = Math.imul(this.#high ^ (value * 0x1000), 0x5f356495);
    this.#low ^= this.#high >>> 15;
    this.#high ^= this.#low >>> 13;
  }

  bytes(bytes: Uint8Array): void {
    for (const byte of bytes) this.number(byte);
  }

  get hash(): string {
    return (this.#high >>> 0).toString(16).padStart(8, "0") + (this.#low >>> 0).toString(16).padStart(8, "0");
  }
}
