/**
 * `npm run mutants`: are the tests any good? Plants the bugs of test/mutants/table.ts one at a time in a copy of the
 * project and runs each one's probe: a checker or an invariant must name the promise that the bug breaks, within two
 * minutes, and find nothing where nothing is planted.
 */
import { spawn } from "node:child_process";
import { cpSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { filesOf, plant } from "../test/mutants/plant.ts";
import type { Finding, Probe } from "../test/mutants/probe.ts";
import { MUTANTS } from "../test/mutants/table.ts";

const USAGE = `usage: npm run mutants -- [--only ID[,ID]] [--json] [--no-baseline]
  bugs: ${MUTANTS.map(({ id }) => id).join(", ")}`;

/** Of processor time: on a machine that is busy with other things a probe takes longer by the clock. */
const LIMIT_SECONDS = 120;
/** By the clock: only ends a hang. */
const HANG_MS = 900_000;
const root = fileURLToPath(new URL("..", import.meta.url));

interface Row {
  readonly id: string;
  readonly catalogue: readonly string[];
  readonly what: string;
  readonly found: boolean;
  readonly promise: string;
  readonly message: string;
  readonly seed: number;
  readonly seconds: number;
}

function copyProject(): string {
  const dir = mkdtempSync(join(tmpdir(), "quorate-mutants-"));
  for (const part of ["src", "test", "package.json", "tsconfig.json"]) {
    cpSync(join(root, part), join(dir, part), { recursive: true });
  }
  symlinkSync(join(root, "node_modules"), join(dir, "node_modules"));
  return dir;
}

/** A probe that says nothing within the limit is a finding of its own: too slow, or hanging. */
function run(dir: string, probe: Probe): Promise<Finding> {
  return new Promise((resolve) => {
    const args = ["--import", "tsx", "test/mutants/probe.ts", JSON.stringify(probe)];
    const child = spawn(process.execPath, args, { cwd: dir, stdio: ["ignore", "pipe", "pipe"] });
    let out = "";
    let err = "";
    child.stdout.on("data", (data) => {
      out += data;
    });
    child.stderr.on("data", (data) => {
      err += data;
    });
    const timer = setTimeout(() => child.kill("SIGKILL"), HANG_MS);
    child.once("exit", (code, signal) => {
      clearTimeout(timer);
      try {
        resolve(JSON.parse(out.trim().split("\n").at(-1) ?? "") as Finding);
      } catch {
        const why = signal === null ? `ended with code ${code}: ${err.slice(-400)}` : "no verdict in time";
        resolve({ verdict: "crash", promise: "", message: why, seed: 0 });
      }
    });
  });
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      only: { type: "string" },
      json: { type: "boolean", default: false },
      "no-baseline": { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(USAGE);
    return 0;
  }
  const wanted = values.only?.split(",");
  const unknown = wanted?.find((id) => !MUTANTS.some((mutant) => mutant.id === id));
  if (unknown !== undefined) throw new Error(`no bug "${unknown}"\n${USAGE}`);
  const mutants = MUTANTS.filter(({ id }) => wanted?.includes(id) ?? true);
  const say = (line: string): void => console.error(line);
  const dir = copyProject();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => {
      rmSync(dir, { recursive: true, force: true });
      process.exit(1);
    });
  }
  const rows: Row[] = [];
  const baselines: { readonly probe: Probe; readonly seconds: number; readonly finding: Finding }[] = [];
  try {
    for (const mutant of mutants) plant(mutant, dir, { write: false });
    if (!values["no-baseline"]) {
      const probes = new Map(mutants.map(({ probe }) => [JSON.stringify(probe), probe]));
      let done = 0;
      for (const probe of probes.values()) {
        const begun = performance.now();
        const finding = await run(dir, probe);
        const seconds = finding.cpuSeconds ?? (performance.now() - begun) / 1_000;
        baselines.push({ probe, seconds, finding });
        const name = JSON.stringify(probe).slice(0, 120);
        say(`without a bug ${++done}/${probes.size}: ${finding.verdict} in ${seconds.toFixed(0)} s  ${name}`);
        if (finding.verdict !== "ok") say(`  ${finding.promise}: ${finding.message} (seed ${finding.seed})`);
      }
    }
    for (const mutant of mutants) {
      const files = filesOf(mutant, dir);
      plant(mutant, dir);
      const begun = performance.now();
      const finding = await run(dir, mutant.probe);
      const seconds = finding.cpuSeconds ?? (performance.now() - begun) / 1_000;
      for (const file of files) cpSync(join(root, file), join(dir, file));
      const { id, what, catalogue = [] } = mutant;
      const found = finding.verdict === "violation" && seconds <= LIMIT_SECONDS;
      rows.push({
        id,
        catalogue,
        what,
        found,
        promise: finding.promise,
        message: finding.message,
        seed: finding.seed,
        seconds,
      });
      const verdict = found
        ? `found by "${finding.promise}"`
        : `NOT FOUND (${finding.verdict}) ${finding.message.slice(0, 300)}`;
      say(
        `${rows.length}/${mutants.length} ${id} ${catalogue.join(" ")}: ${verdict}, seed ${finding.seed}, ${seconds.toFixed(0)} s`,
      );
    }
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
  const missed = rows.filter(({ found }) => !found).map(({ id }) => id);
  const unsound = baselines.filter(({ finding }) => finding.verdict !== "ok");
  const catalogue = new Set(rows.filter(({ found }) => found).flatMap((row) => row.catalogue));
  const figures = { bugs: rows.length, found: rows.length - missed.length, missed, catalogue: [...catalogue].sort() };
  if (values.json) console.log(JSON.stringify({ ...figures, baselines, rows }));
  else {
    console.log(`${figures.found} of ${figures.bugs} bugs found, of the catalogue ${figures.catalogue.join(" ")}`);
    if (missed.length > 0) console.log(`not found: ${missed.join(", ")}`);
    if (unsound.length > 0) console.log(`${unsound.length} probes find something where no bug was planted`);
  }
  return missed.length === 0 && unsound.length === 0 ? 0 : 1;
}

main().then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 2;
  },
);
