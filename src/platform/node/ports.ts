/** Looks for ports that nobody listens on. */
import { randomInt } from "node:crypto";
import { createServer } from "node:net";

/** Whether this process could listen there right now. */
export function isFree(port: number, host: string): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen({ port, host, exclusive: true }, () => server.close(() => resolve(true)));
  });
}

// Below the range from which Linux hands out ports for outgoing connections (32768 and up), so that no connection of
// this very cluster can take a member's port between the look and the listening.
const LOWEST = 12_000;
const HIGHEST = 32_000;

/** The first of `length` consecutive free ports on the loopback address. */
export async function freeBlock(length: number): Promise<number> {
  for (let attempt = 0; attempt < 200; attempt++) {
    const first = randomInt(LOWEST, HIGHEST - length);
    let free = true;
    for (let port = first; free && port < first + length; port++) free = await isFree(port, "127.0.0.1");
    if (free) return first;
  }
  throw new Error(`found no ${length} consecutive free ports on 127.0.0.1`);
}
