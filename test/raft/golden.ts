/** Texts kept in test/golden/raft. `npm run golden` rewrites them; the difference is read like code. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";

export function expectGolden(name: string, text: string): void {
  const path = fileURLToPath(new URL(`../golden/raft/${name}.txt`, import.meta.url));
  if (process.env.GOLDEN === "1") {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
  expect(text).toBe(readFileSync(path, "utf8"));
}
