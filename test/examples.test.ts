/** The examples run as they stand, each as a program of its own. */
import { execFile } from "node:child_process";
import { readdirSync } from "node:fs";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const OUTPUT: Readonly<Record<string, string>> = {
  "backup.ts": "saved revision 2\nrestored hello at revision 1000000002\n",
  "embedded.ts": "hello\n",
};

test("every example has its output here", () => {
  expect(readdirSync("examples").filter((name) => name.endsWith(".ts"))).toEqual(Object.keys(OUTPUT));
});

test.each(Object.entries(OUTPUT))("%s", async (name, expected) => {
  const { stdout } = await promisify(execFile)(process.execPath, ["--import", "tsx", `examples/${name}`]);
  expect(stdout).toBe(expected);
});
