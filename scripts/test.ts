/**
 * `npm test`: everything that CI runs. Lint, types and the guard of the hot paths count as one test each; the last line is `N passed, N failed`.
 * Arguments go to vitest, so `npm test -- test/kv` narrows the suites.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";

/** The part of vitest's JSON report that is counted. */
interface Report {
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message?: string;
    readonly assertionResults: readonly { readonly fullName: string; readonly status: string }[];
  }[];
}

const root = fileURLToPath(new URL("..", import.meta.url));
const failures: string[] = [];
const skipped: string[] = [];
let passed = 0;

function node(title: string, args: readonly string[]): boolean {
  console.log(`\n== ${title}`);
  return spawnSync(process.execPath, args, { cwd: root, stdio: "inherit" }).status === 0;
}

function check(title: string, args: readonly string[]): void {
  if (node(title, args)) passed += 1;
  else failures.push(title);
}

function suites(): void {
  const dir = mkdtempSync(join(tmpdir(), "quorate-test-"));
  const file = join(dir, "report.json");
  try {
    const args = [
      "run",
      "--reporter=default",
      "--reporter=json",
      `--outputFile.json=${file}`,
      ...process.argv.slice(2),
    ];
    const ok = node("suites", ["node_modules/vitest/vitest.mjs", ...args]);
    const before = failures.length;
    count(JSON.parse(readFileSync(file, "utf8")) as Report);
    // An error outside every test, such as an unhandled rejection, fails vitest but no test.
    if (!ok && failures.length === before) failures.push("suites: vitest failed outside its tests (see above)");
  } catch (error) {
    failures.push(`suites: vitest left no report (${(error as Error).message})`);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

function count(report: Report): void {
  for (const suite of report.testResults) {
    const file = relative(root, suite.name);
    if (suite.status === "failed" && suite.assertionResults.every((test) => test.status !== "failed")) {
      failures.push(`${file} (failed outside its tests)`);
    }
    for (const test of suite.assertionResults) {
      if (test.status === "passed") passed += 1;
      else if (test.status === "failed") failures.push(`${file}: ${test.fullName}`);
      else skipped.push(`${file}: ${test.fullName}`);
    }
  }
}

check("lint", ["node_modules/@biomejs/biome/bin/biome", "check"]);
check("types", ["node_modules/ts7/bin/tsc", "-p", "tsconfig.json"]);
// Stricter: every export of the library shows its type.
check("types of the build", ["node_modules/ts7/bin/tsc", "-p", "tsconfig.build.json", "--noEmit"]);
suites();
check("guard of the hot paths", ["--import", "tsx", "bench/guard.ts"]);

console.log("");
for (const name of skipped) console.log(`skipped: ${name}`);
for (const name of failures) console.log(`FAILED: ${name}`);
console.log(`${passed} passed, ${failures.length} failed`);
process.exit(failures.length === 0 ? 0 : 1);
