/** Locks, elections, watches and configs on real processes: small forms of `npm run contend` and `npm run updates`. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "vitest";

/** On a busy machine a dozen processes take their time. */
const LIMIT_MS = 300_000;

async function figures(script: string, ...args: readonly string[]): Promise<Record<string, unknown>> {
  const run = promisify(execFile)(process.execPath, ["--import", "tsx", `scripts/${script}.ts`, ...args, "--json"]);
  const { stdout } = await run;
  return JSON.parse(stdout) as Record<string, unknown>;
}

test("contenders that are stopped past their TTL, while leaders die", { timeout: LIMIT_MS }, async () => {
  const found = await figures(
    "contend",
    ...["--seconds", "5", "--contenders", "4", "--processes", "2", "--ttl", "2", "--seed", "7"],
  );
  expect(found).toMatchObject({ contenders: 4, violations: [] });
  expect(found.leadersKilled).toBeGreaterThan(0);
  for (const kind of ["lock", "election"]) {
    const { turns, effectsLanded } = found[kind] as Record<string, number>;
    expect(turns).toBeGreaterThan(4);
    expect(effectsLanded).toBeGreaterThan(4);
  }
});

test("watches and ConfigWatchers, while leaders die: nothing is missed", { timeout: LIMIT_MS }, async () => {
  const found = await figures("updates", "--watchers", "10", "--kills", "2");
  expect(found).toMatchObject({ watchers: 10, kills: 2, violations: [] });
  expect(found.acknowledged).toBeGreaterThan(20);
});
