/** Bytes kept in test/golden/protocol, one line each. `npm run golden` rewrites them; the difference is read like code. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import { toHex } from "../../src/base/bytes.ts";

export function expectGoldenLines(name: string, lines: Readonly<Record<string, Uint8Array | string>>): void {
  const path = fileURLToPath(new URL(`../golden/protocol/${name}.txt`, import.meta.url));
  const text = Object.entries(lines)
    .map(([title, line]) => `${title}: ${typeof line === "string" ? line : toHex(line)}\n`)
    .join("");
  if (process.env.GOLDEN === "1") {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
  expect(text).toBe(readFileSync(path, "utf8"));
}
