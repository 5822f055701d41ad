/** The examples run as they stand, each as a program of its own. */
import { execFile } from "node:child_process";
import { readdirSync } from "node:fs";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const OUTPUT: Readonly<Record<string, string>> = {
  "embedded.ts": "hello\n",
  "job-queue.ts": "20 jobs done, 0 left, each once\n",
};

test("every example has its output here", () => {
  expect(readdirSync("examples").filter((name) => name.endsWith(".ts"))).toEqual(Object.keys(OUTPUT));
});

test.each(Object.entries(OUTPUT))("%s", async (name, expected) => {
  const { stdout } = await promisify(execFile)(process.execPath, ["--import", "tsx", `examples/${name}`]);
  expect(stdout).toBe(expected);
});
