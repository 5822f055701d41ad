/** Documents say what the code does: the error table, npm scripts, links and examples. */
import { existsSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { FAILURES } from "../src/base/errors.ts";

const read = (path: string): string => readFileSync(path, "utf8");

describe("documents", () => {
  test("docs/errors.md has exactly the codes, statuses and messages of FAILURES, in their order", () => {
    const rows = [...read("docs/errors.md").matchAll(/^\| `([A-Z_]+)` \| ([A-Z_]+) \| (.+?) \| .+ \|$/gm)];
    const written = rows.map(([, code, status, message]) => ({ code, status, message }));
    expect(written).toEqual(Object.entries(FAILURES).map(([code, failure]) => ({ code, ...failure })));
  });

  test("every npm script that the README names exists", () => {
    const { scripts } = JSON.parse(read("package.json")) as { scripts: Record<string, string> };
    for (const [, name] of read("README.md").matchAll(/npm run ([a-z:]+)/g)) expect(scripts).toHaveProperty([name!]);
  });

  test("every relative link of the README leads to a file", () => {
    for (const [, path] of read("README.md").matchAll(/\]\(([^):#]+)\)/g)) expect(existsSync(path!), path).toBe(true);
  });

  test("the README's example is examples/embedded.ts", () => {
    expect(read("README.md")).toContain(`\`\`\`ts\n${read("examples/embedded.ts").trimEnd()}\n\`\`\``);
  });

  test("the example of docs/backup.md is examples/backup.ts", () => {
    expect(read("docs/backup.md")).toContain(`\`\`\`ts\n${read("examples/backup.ts").trimEnd()}\n\`\`\``);
  });

  test("the worked example of docs/testing.md is examples/job-queue.ts", () => {
    expect(read("docs/testing.md")).toContain(`\`\`\`ts\n${read("examples/job-queue.ts").trimEnd()}\n\`\`\``);
  });

  test("every npm script that docs/testing.md names exists", () => {
    const { scripts } = JSON.parse(read("package.json")) as { scripts: Record<string, string> };
    for (const [, name] of read("docs/testing.md").matchAll(/npm run ([a-z:]+)/g))
      expect(scripts).toHaveProperty([name!]);
  });
});
