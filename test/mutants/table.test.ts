/** The table of planted bugs still fits the source, and the runner finds one that it must find. */
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { PATCHES, plant } from "./plant.ts";
import { promiseOf } from "./promises.ts";
import { MUTANTS } from "./table.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

describe("MUTANTS", () => {
  test.each(MUTANTS)("$id applies: $what", (mutant) => {
    expect(mutant.patch !== undefined || (mutant.edits ?? []).length > 0).toBe(true);
    plant(mutant, root, { write: false });
  });

  test("has at least 40 bugs, 20 of the catalogue among them, and each id once", () => {
    expect(MUTANTS.length).toBeGreaterThanOrEqual(40);
    expect(new Set(MUTANTS.map(({ id }) => id)).size).toBe(MUTANTS.length);
    const catalogue = new Set(MUTANTS.flatMap((mutant) => mutant.catalogue ?? []));
    expect(catalogue.size).toBeGreaterThanOrEqual(20);
    for (const id of ["B01", "B04", "B09", "B12", "B17", "B20", "B21", "B25", "B43", "B45", "B49", "B51"]) {
      expect(catalogue, id).toContain(id);
    }
  });

  test("every patch is in it", () => {
    const patches = readdirSync(join(root, PATCHES)).filter((name) => name.endsWith(".patch"));
    expect(MUTANTS.flatMap(({ patch }) => (patch === undefined ? [] : [`${patch}.patch`])).sort()).toEqual(
      patches.sort(),
    );
  });

  test("a row that no longer fits is an error", () => {
    const [row] = MUTANTS.filter(({ edits }) => edits !== undefined);
    const edit = { ...row!.edits![0]!, find: "this stands nowhere" };
    expect(() => plant({ ...row!, edits: [edit] }, root, { write: false })).toThrow("stands 0 times");
  });
});

describe("promiseOf", () => {
  test("names the promise of a rule, and takes nothing else for one", () => {
    expect(promiseOf(new Error("O1: term 3 is led by 1 and by 2"))?.promise).toBe("O1: one leader a term");
    expect(promiseOf("n1 stopped: INTERNAL quorate: an invariant was broken: V3: falls")?.promise).toBe("invariant V3");
    expect(promiseOf(new TypeError("x is not a function"))).toBeUndefined();
  });
});

test("npm run mutants finds a planted bug and names the promise", () => {
  const args = ["--import", "tsx", "scripts/mutants.ts", "--only", "w-ack-before-write", "--no-baseline", "--json"];
  const done = spawnSync(process.execPath, args, { cwd: root, encoding: "utf8" });
  expect(done.status, done.stderr).toBe(0);
  const { rows } = JSON.parse(done.stdout) as { rows: { id: string; promise: string }[] };
  expect(rows).toMatchObject([{ id: "w-ack-before-write", promise: "O6: promises are durable before they leave" }]);
});
