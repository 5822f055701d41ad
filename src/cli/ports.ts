/** Looks for ports that nobody listens on, so that a cluster is refused before anything was created. */
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

/** `ws://[::1]:7400` -> host `::1`, port 7400. */
export function hostAndPort(url: string): { readonly host: string; readonly port: number } {
  const { hostname, port } = new URL(url);
  return { host: hostname.replace(/^\[|\]$/g, ""), port: Number(port === "" ? 80 : port) };
}

/** The first of these addresses that is taken. */
export async function firstTaken(urls: readonly string[]): Promise<string | undefined> {
  for (const url of urls) {
    const { host, port } = hostAndPort(url);
    if (!(await isFree(port, host))) return url;
  }
  return undefined;
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
