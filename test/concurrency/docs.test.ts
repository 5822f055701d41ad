/** The code of docs/concurrency.md runs as it stands, each piece on a member of its own. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";

const OUTPUT: readonly (readonly [string, readonly string[]])[] = [
  ["Sessions", ["alive", "lost, or closed"]],
  ["Locks", ["written: true"]],
  ["Elections", ["leader: node-1", "observed: node-1, ready"]],
  ["Services: locks and elections by one call each", ["leader: node-1, ready"]],
  ["Transactional memory", ["b has 10"]],
  ["Once per cluster", ["initialized here: true"]],
  ["Configuration", ["max is 10", "still 10 because INVALID_CONFIG"]],
];

const text = readFileSync("docs/concurrency.md", "utf8");
const pieces = [...text.matchAll(/^## (.+)$[\s\S]*?^```ts\n([\s\S]*?)^```$/gm)].map(
  ([, title, code]) => [title!, code!] as const,
);

test("every piece is run here", () => {
  expect(text.match(/^```ts$/gm)).toHaveLength(OUTPUT.length);
  expect(pieces.map(([title]) => title)).toEqual(OUTPUT.map(([title]) => title));
});

test.each(OUTPUT)("%s", async (title, expected) => {
  const code = pieces.find(([each]) => each === title)![1];
  // Within the project, so that packages are found, and where git does not look.
  mkdirSync(".sim", { recursive: true });
  const file = resolve(".sim", `docs-${title.replaceAll(/[^a-z]/gi, "-")}-${process.pid}.ts`);
  writeFileSync(
    file,
    'import * as v from "valibot";\n' +
      'import { compare, ConfigWatcher, Election, initializeOnce, Mutex, Node, observeElection, op, Session, stm } from "../src/index.ts";\n' +
      `export async function run() {\nawait using node = await Node.open({});\nconst client = node.client();\n${code}}\n`,
  );
  onTestFinished(() => rmSync(file));
  const said: string[] = [];
  const log = vi.spyOn(console, "log").mockImplementation((...words: readonly unknown[]) => {
    said.push(words.join(" "));
  });
  onTestFinished(() => log.mockRestore());
  const { run } = (await import(file)) as { run: () => Promise<void> };
  await run();
  expect(said).toEqual(expected);
});
