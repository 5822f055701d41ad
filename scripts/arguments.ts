/** Numbers on the command lines of the scripts: one that is not understood must not become a run that does nothing. */

export function whole(text: string, name: string, least: number, most: number): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isInteger(value) || value < least || value > most) {
    throw new Error(`--${name} takes a whole number from ${least} to ${most}, not "${text}"`);
  }
  return value;
}

/** Of those that only ever count something: at least one of it. */
export function count(text: string, name: string): number {
  return whole(text, name, 1, 10_000_000);
}

export function seedOf(text: string): number {
  return whole(text, "seed", 0, 0xffff_ffff);
}
