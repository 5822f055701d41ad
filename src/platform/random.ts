/** Chance as the shell sees it. In production from the operating system, in the simulator from the seed. */
export interface Random {
  /** A number in [0, 1). */
  next(): number;
  bytes(length: number): Uint8Array;
}
