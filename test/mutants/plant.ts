/** Plants one bug in a copy of the project. Throws where a row no longer fits the source. */
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Mutant } from "./table.ts";

export const PATCHES = "test/mutants";

/** Files that a mutant changes, relative to the root. */
export function filesOf(mutant: Mutant, root: string): readonly string[] {
  const files = (mutant.edits ?? []).map(({ file }) => file);
  if (mutant.patch !== undefined) {
    const patch = readFileSync(join(root, PATCHES, `${mutant.patch}.patch`), "utf8");
    for (const [, file] of patch.matchAll(/^\+\+\+ b\/(.+)$/gm)) files.push(file!);
  }
  return [...new Set(files)];
}

/** `write: false` only looks whether it would apply. */
export function plant(mutant: Mutant, root: string, { write = true }: { readonly write?: boolean } = {}): void {
  if (mutant.patch !== undefined) {
    const args = ["apply", ...(write ? [] : ["--check"]), join(PATCHES, `${mutant.patch}.patch`)];
    // Outside a repository, or git would look for one above and apply nothing.
    const env = { ...process.env, GIT_DIR: join(root, "no-repository") };
    const done = spawnSync("git", args, { cwd: root, encoding: "utf8", env });
    if (done.status !== 0) throw new Error(`${mutant.id}: the patch does not apply: ${done.stderr.trim()}`);
  }
  const texts = new Map<string, string>();
  for (const { file, find, replace } of mutant.edits ?? []) {
    const path = join(root, file);
    const text = texts.get(path) ?? readFileSync(path, "utf8");
    const parts = text.split(find);
    if (parts.length !== 2) {
      throw new Error(`${mutant.id}: in ${file} the text to replace stands ${parts.length - 1} times: ${find.trim()}`);
    }
    texts.set(path, parts.join(replace));
  }
  if (write) for (const [path, text] of texts) writeFileSync(path, text);
}
