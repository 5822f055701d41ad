/** report.html in a real browser, from disk and without network. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { describe, expect, test } from "vitest";
import type { History } from "../../src/testing/history.ts";
import { simulate, summaryOf } from "../../src/testing/index.ts";
import { writeRunFolder } from "../../src/testing/node/run-folder.ts";
import type { RunSummary } from "../../src/testing/report.ts";
import { planted } from "./planted.ts";

const BROWSER = ["chromium", "chromium-browser", "google-chrome"].find(
  (name) => spawnSync(name, ["--version"], { stdio: "ignore" }).status === 0,
);
const required = process.env.QUORATE_REQUIRE_CHROMIUM === "1";

/** The page as the browser has built it. */
function shown(summary: RunSummary, history: History): string {
  const dir = mkdtempSync(join(tmpdir(), "quorate-page-"));
  try {
    writeRunFolder(dir, summary, history);
    const args = [
      ...["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"],
      // No name resolves: whatever the page wanted to load would fail.
      ...[
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--disable-background-networking",
        `--user-data-dir=${join(dir, "profile")}`,
      ],
      ...["--dump-dom", pathToFileURL(join(dir, "report.html")).href],
    ];
    const done = spawnSync(BROWSER!, args, { encoding: "utf8", timeout: 90_000, maxBuffer: 64 << 20 });
    expect(done.status, done.stderr).toBe(0);
    return done.stdout;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

test.runIf(required)("there is a browser", () => {
  expect(BROWSER, "QUORATE_REQUIRE_CHROMIUM=1, and no chromium on the PATH").toBeDefined();
});

describe.skipIf(BROWSER === undefined)("report.html in headless Chromium (skipped where there is none)", () => {
  test("of a run under faults has the chart, the fault bands, the leader timeline and one verdict per promise", async () => {
    const report = await simulate({ seed: 3, nodes: 3, seconds: 15, faults: ["partition", "kill"] });
    const page = shown(summaryOf(report, "npm run sim -- --seed 3"), report.history);
    expect(page).toMatch(/<svg id="chart"/);
    expect(page.match(/<circle class="op ok"/g)!.length).toBeGreaterThan(50);
    expect(page.match(/<rect class="fault-band"/g)!.length).toBeGreaterThan(1);
    expect(page).toMatch(/<rect class="role leader" data-member="n\d" data-term="\d+"/);
    for (const promise of Object.keys(report.verdicts)) {
      expect(page.split(`data-promise="${promise}"`), promise).toHaveLength(2);
    }
  });

  test("of a run with a planted violation shows its fragment", () => {
    const { summary, history } = planted();
    const page = shown(summary, history);
    expect(page).toMatch(/<tr class="verdict violation" data-promise="linearizability">/);
    expect(page).toMatch(/<pre class="fragment" data-promise="linearizability">[^<]*get[^<]*<\/pre>/);
  });
});
