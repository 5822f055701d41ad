/** Runs a benchmark as a real process, with parameters so small that its figures mean nothing: what is tested is that it works. */
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));

export interface Bench<T> {
  readonly code: number | null;
  readonly output: string;
  /** What `--json` wrote. */
  readonly found: T;
}

const leftovers = (name: string): string[] =>
  readdirSync(root).filter((entry) => entry.startsWith(`quorate-data-bench-${name}-`));

/** `interrupt`: sent SIGINT once its output matches. */
export async function bench<T>(
  name: string,
  args: readonly string[],
  interrupt?: RegExp,
): Promise<Bench<T> & { readonly left: readonly string[] }> {
  const dir = mkdtempSync(join(tmpdir(), "quorate-bench-"));
  const before = new Set(leftovers(name));
  try {
    const json = join(dir, "found.json");
    const child = spawn(process.execPath, ["--import", "tsx", `bench/${name}.ts`, ...args, "--json", json], {
      cwd: root,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    const listen = (data: Buffer): void => {
      output += data.toString();
      if (interrupt?.test(output)) child.kill("SIGINT");
    };
    child.stdout.on("data", listen);
    child.stderr.on("data", listen);
    const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
    const found = code === 0 ? (JSON.parse(readFileSync(json, "utf8")) as T) : (undefined as T);
    return { code, output, found, left: leftovers(name).filter((entry) => !before.has(entry)) };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
