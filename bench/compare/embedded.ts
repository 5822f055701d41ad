/** Gets within a process, asked of `bench:embedded`: only quorate can be embedded. */
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { shown } from "../support/statistics.ts";
import type { Question } from "./comparison.ts";

const BENCH = fileURLToPath(new URL("../embedded.ts", import.meta.url));
const SECONDS = 20;
export const EMBEDDED_GET = "serializable get, one after the other";

export const embedded: Question = {
  name: "embedded",
  title: "gets in process (bench:embedded)",
  columns: [{ figure: "opsPerSecond", title: "ops/s" }],
  seconds: () => SECONDS,
  ask: async (comparison) => {
    const { scratch, sizes, progress } = comparison;
    const dir = join(scratch.dir, "embedded");
    mkdirSync(dir);
    const json = join(dir, "found.json");
    const args = ["--import", "tsx", BENCH, "--json", json, "--seconds", String(Math.min(2, sizes.seconds))];
    const child = scratch.run(process.execPath, args, { stdio: "ignore" });
    const code = await new Promise((resolve) => child.once("exit", resolve));
    if (code !== 0) throw new Error(`bench:embedded ended with ${code}`);
    const { rows } = JSON.parse(readFileSync(json, "utf8")) as { rows: { what: string; opsPerSecond: number }[] };
    for (const { what, opsPerSecond } of rows) comparison.add("embedded", what, "quorate", { opsPerSecond });
    progress?.done(SECONDS, rows.map(({ what, opsPerSecond }) => `${what}: ${shown(opsPerSecond)}/s`).join("; "));
  },
};
