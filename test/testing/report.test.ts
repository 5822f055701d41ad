import { describe, expect, test } from "vitest";
import { History } from "../../src/testing/history.ts";
import { faultSchedule, type RunSummary, renderReport } from "../../src/testing/report.ts";
import { planted } from "./planted.ts";

describe("renderReport", () => {
  const { summary, history } = planted();
  const page = renderReport(JSON.stringify(summary), history.toJsonLines());

  test("is one file that loads nothing and runs nothing", () => {
    expect(page).not.toMatch(/<script|<link|src=|url\(|https?:\/\/|@import/);
    expect(page.startsWith("<!doctype html>")).toBe(true);
  });

  test("has a row for each promise, with its verdict", () => {
    for (const [promise, { verdict }] of Object.entries(summary.verdicts)) {
      expect(page).toContain(`class="verdict ${verdict}" data-promise="${promise}"`);
    }
  });

  test("shades each fault from its beginning to its end, one that is not over to the end of the run", () => {
    expect(page.match(/class="fault-band"/g)).toHaveLength(3);
    const schedule = faultSchedule(history.toJsonLines())
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as object);
    expect(schedule).toEqual([
      { fault: "partition", detail: "n1", from: 1_000, to: 2_000 },
      { fault: "kill", detail: "n2 <&>", from: 3_000, to: 3_500 },
      { fault: "pause", detail: "n3", from: 8_000, to: 8_100 },
    ]);
  });

  test("shows who led when, by node and term", () => {
    expect(page).toMatch(/class="role leader" data-member="n1" data-term="2"/);
    expect(page).toMatch(/class="role leader" data-member="n3" data-term="3"/);
    expect(page).toMatch(/class="role down" data-member="n2"/);
  });

  test("a violation shows its fragment, and what comes from the run is text, never markup", () => {
    expect(page).toMatch(/<pre class="fragment" data-promise="linearizability">[^<]*#1 client 0/);
    expect(page).not.toContain("<&>");
    expect(page).toContain("n2 &#60;&#38;&#62;");
  });

  test("counters that are zero stand out", () => {
    expect(page).toContain('<tr class="zero"><td>snapshot install</td>');
  });

  test("a run without any operation or fault has a page too", () => {
    const empty: RunSummary = {
      ...summary,
      ok: true,
      verdicts: {},
      durationMs: 0,
      faults: {},
      errors: {},
      rareEvents: {},
    };
    expect(renderReport(JSON.stringify(empty), new History().toJsonLines())).toContain('<svg id="chart"');
  });

  test("the many points of a long run are thinned out, and none that failed is lost", () => {
    const long = new History();
    for (let i = 0; i < 20_000; i++) {
      const op = long.invoke(i, 0, { kind: "put", key: "a", value: "1" });
      if (i % 1_000 === 0) long.add({ type: "fail", time: i + 1, process: 0, op, error: "NO_LEADER" });
      else long.add({ type: "ok", time: i + 1, process: 0, op, result: { member: "1", revision: i + 2, kind: "put" } });
    }
    const big = renderReport(JSON.stringify(summary), long.toJsonLines());
    expect(big.match(/class="op fail"/g)).toHaveLength(20);
    expect(big.match(/class="op ok"/g)!.length).toBeLessThan(6_100);
  });
});
