/** The small form of `npm run once`: real processes, sockets and kills. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));

test("every write is applied exactly once while leaders are killed and connections cut", async () => {
  const args = ["--kills", "2", "--puts", "400", "--increments", "400", "--clients", "4", "--cuts", "0.03", "--json"];
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ["--import", "tsx", "scripts/once.ts", "--seed", "20231", ...args],
    { cwd: root },
  );
  const figures = JSON.parse(stdout) as Record<string, number>;
  expect(figures).toMatchObject({ kills: 2, violations: [] });
  expect(figures.acknowledged! + figures.unknown!).toBeGreaterThan(750);
  // Otherwise nothing was tried that a plain client could not have done.
  expect(figures.cuts).toBeGreaterThan(20);
  expect(figures.hitsAtLeast).toBeGreaterThan(0);
}, 240_000);
