import { afterEach, expect, test, vi } from "vitest";
import { createLogger, readable } from "../../src/cli/logging.ts";

afterEach(() => void vi.restoreAllMocks());

function logged(act: () => void): string[] {
  const lines: string[] = [];
  vi.spyOn(process.stderr, "write").mockImplementation((line) => lines.push(String(line)) > 0);
  act();
  return lines;
}

test("one JSON object a line on stderr, quiet below the level", () => {
  const lines = logged(() => {
    const log = createLogger("warn", "n1");
    log.info({}, "not shown");
    log.warn({ peer: "n2", index: 7 }, "behind");
  });
  expect(lines).toHaveLength(1);
  expect(JSON.parse(lines[0]!)).toMatchObject({ level: "warn", name: "n1", peer: "n2", index: 7, msg: "behind" });
});

test("ids, which are bigints, can be logged", () => {
  const lines = logged(() => createLogger("info", "n1").info({ id: 0xffff_ffff_ffff_ffffn }, "started"));
  expect(lines[0]).toContain("18446744073709551615");
});

test("readable on a terminal", () => {
  const line = JSON.stringify({ level: "warn", time: 0, name: "n1", peer: "n2", tries: 3, msg: "behind" });
  expect(readable(line, false)).toBe("00:00:00.000 WARN  n1 behind peer=n2 tries=3\n");
});
