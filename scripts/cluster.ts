/** A real cluster for the scripts that torment one: its launcher, its members' processes, and what they said last. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** Lines of the launcher and the members that are kept, to be shown with a violation. */
const SAID_MAX = 200;

export interface Launched {
  readonly dir: string;
  readonly launcher: ChildProcess;
  /** By name: of the members that were started again. Those of the first start stand in the launcher's first line. */
  readonly pids: Map<string, number>;
  readonly said: string[];
}

/** Starts three members, on free ports, that are started again when they die. Their data is kept below this directory. */
export function launch(what: string): Launched {
  const dir = mkdtempSync(join(process.cwd(), `quorate-data-${what}-`));
  const launcher = spawn(
    process.execPath,
    ["dist/cli/main.js", "cluster", "--base-port", "0", "--json", "--restart", "--dir", dir],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
  const pids = new Map<string, number>();
  const said: string[] = [];
  // The launcher names each member's new process on stderr when it is up again.
  createInterface({ input: launcher.stderr }).on("line", (line) => {
    said.push(line);
    if (said.length > SAID_MAX) said.shift();
    const up = /^(\S+) is up \(pid (\d+)\)/.exec(line);
    if (up !== null) pids.set(up[1]!, Number(up[2]));
  });
  return { dir, launcher, pids, said };
}
