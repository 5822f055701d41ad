/**
 * The floors of the house and what each may touch, as data. A failure names the line, the reason and the remedy. Comments
 * and texts are not code: they are blanked before the search, and stay where they are so that line numbers hold.
 */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join, posix, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

const SRC = fileURLToPath(new URL("../src", import.meta.url));

/** Each folder and what it may import besides itself and `base`. The order is from the ground up. */
const FLOORS: Readonly<Record<string, readonly string[]>> = {
  base: [],
  protocol: [],
  raft: [],
  platform: [],
  kv: ["protocol"],
  lease: ["protocol"],
  storage: ["raft", "protocol", "platform"],
  transport: ["protocol", "platform"],
  machine: ["kv", "lease", "protocol"],
  server: ["machine", "kv", "lease", "storage", "transport", "raft", "protocol", "platform"],
  client: ["transport", "protocol", "platform"],
  concurrency: ["client", "protocol", "platform"],
  node: [
    ...[
      "server",
      "client",
      "concurrency",
      "machine",
      "kv",
      "lease",
      "storage",
      "transport",
      "raft",
      "protocol",
      "platform",
    ],
    ...["platform/node", "transport/node"],
  ],
  cli: [
    ...[
      "node",
      "concurrency",
      "server",
      "client",
      "machine",
      "kv",
      "lease",
      "storage",
      "transport",
      "raft",
      "protocol",
    ],
    ...["platform", "platform/node", "transport/node"],
  ],
  testing: [
    ...[
      "node",
      "concurrency",
      "server",
      "client",
      "machine",
      "kv",
      "lease",
      "storage",
      "transport",
      "raft",
      "protocol",
    ],
    ...["platform", "platform/node", "transport/node", "testing/node"],
  ],
  "platform/node": ["platform"],
  "transport/node": ["transport", "protocol", "platform", "platform/node"],
  "testing/node": ["testing", "node", "client", "transport", "protocol", "platform", "platform/node", "transport/node"],
  index: ["node", "concurrency", "client", "server", "protocol", "platform"],
};

/** Folders of their own inside another: Node's halves, which only the top floors see. */
const INNER = ["platform/node", "transport/node", "testing/node"];

interface Rule {
  readonly what: string;
  readonly pattern: RegExp;
  readonly reason: string;
  readonly remedy: string;
}

const TIME = "the simulator owns time: what asks the machine's clock cannot be replayed from a seed";
const CHANCE = "chance comes from a seed given at birth, so that a run can be replayed";

/** What only the world's edge may touch: `platform/node`, `transport/node`, `testing/node`, `cli`. */
const WORLD: readonly Rule[] = [
  rule(/\b(setTimeout|setInterval|clearTimeout|clearInterval)\b/g, "timers", TIME, "ask the Clock you were given"),
  rule(/\bsetImmediate\b/g, "setImmediate", TIME, "yield through the platform"),
  rule(/\bqueueMicrotask\b/g, "queueMicrotask", TIME, "yield through the platform"),
  rule(/\bnextTick\b/g, "process.nextTick", TIME, "yield through the platform"),
  rule(/\bMessageChannel\b/g, "MessageChannel", TIME, "yield through the platform"),
  rule(/(?<![\w.])Date\b/g, "Date", TIME, "ask the Clock you were given"),
  rule(/(?<![\w.])performance\b(?!\s*:)/g, "performance", TIME, "ask the Clock you were given"),
  rule(
    /\bAbortSignal\s*\.\s*timeout\b/g,
    "AbortSignal.timeout",
    TIME,
    "abort from a timer of the Clock you were given",
  ),
  rule(/\bMath\s*\.\s*random\b/g, "Math.random", CHANCE, "draw from the Random or Prng you were given"),
  rule(
    /(?<![\w.])(globalThis\s*\.\s*)?(crypto|webcrypto)\s*\./g,
    "crypto",
    CHANCE,
    "draw from the Random you were given, or hash through the platform",
  ),
  rule(/\bFinalizationRegistry\b/g, "FinalizationRegistry", "the collector decides when it runs", "close explicitly"),
  rule(
    /\bfrom\s+"(node:[^"]+)"|\bimport\s*\(\s*"(node:[^"]+)"|\bimport\s+"(node:[^"]+)"/g,
    "a node: module",
    "only the edge of the world is Node's",
    "put it behind an interface in platform/ or transport/",
  ),
  rule(
    /\bfrom\s+"(pino|prom-client|ws|level|classic-level)"/g,
    "a library with timers or I/O of its own",
    TIME,
    "put it behind an interface; its Node half goes to platform/node or transport/node",
  ),
];

const PURE_REASON = "a pure folder gives the same outputs for the same inputs, on every member and in every replay";

/** Beyond that, nothing that differs between two members: the pure folders calculate, and synchronously. */
const PURE: readonly Rule[] = [
  rule(/(?<![\w.])process\s*\./g, "process", PURE_REASON, "take it as an argument"),
  rule(/(?<![\w.])console\s*\./g, "console", PURE_REASON, "return what happened; the shell logs"),
  rule(
    /(?<![\w.])(async\s+function|async\s*\(|await\s)/g,
    "async code",
    PURE_REASON,
    "return what shall be done and let the shell do it",
  ),
  rule(/\blocaleCompare\b|\btoLocale\w*\b|(?<![\w.])Intl\b/g, "the locale", PURE_REASON, "compare bytes or code units"),
];

const PURE_FOLDERS = ["base", "protocol", "raft", "kv", "lease", "machine"];
const EDGE_FOLDERS = ["platform/node", "transport/node", "testing/node", "cli"];

/** Named exceptions, each with its reason. */
const ALLOWED: readonly { readonly file: string; readonly what: string; readonly because: string }[] = [
  {
    file: "testing/world.ts",
    what: "setImmediate",
    because: "the simulator drains microtasks through one real setImmediate per event",
  },
  {
    file: "node/metrics.ts",
    what: "a node: module",
    because: "Node's half of the server's metrics interface, which no lower floor may know",
  },
  {
    file: "node/metrics-page.ts",
    what: "a library with timers or I/O of its own",
    because: "the same: prom-client stays behind that interface",
  },
];

function rule(pattern: RegExp, what: string, reason: string, remedy: string): Rule {
  return { pattern, what, reason, remedy };
}

/** Comments become blanks; so do the insides of texts, unless they are kept for reading import paths. */
function blank(source: string, keepTexts: boolean): string {
  // One alternative each: line comment, block comment, "..." and '...', then `...` without its ${} parts told apart.
  const token = /\/\/[^\n]*|\/\*[\s\S]*?\*\/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`/g;
  return source.replace(token, (text) => {
    if (text.startsWith("/") || (!keepTexts && !text.startsWith("`"))) return text.replace(/[^\n]/g, " ");
    return text.startsWith("`")
      ? text.replace(/\$\{[^}]*\}|[^\n]/g, (part) => (part.startsWith("${") ? part : " "))
      : text;
  });
}

function files(dir: string): string[] {
  return readdirSync(dir).flatMap((name) => {
    const path = join(dir, name);
    return statSync(path).isDirectory() ? files(path) : name.endsWith(".ts") ? [path] : [];
  });
}

/** `platform/node/clock.ts` -> `platform/node`; `index.ts` -> `index`. */
function folderOf(file: string): string {
  const inner = INNER.find((folder) => file.startsWith(`${folder}/`));
  return inner ?? (file.includes("/") ? file.slice(0, file.indexOf("/")) : file.replace(/\.ts$/, ""));
}

const lineOf = (source: string, at: number): number => source.slice(0, at).split("\n").length;

interface Source {
  readonly file: string;
  readonly folder: string;
  readonly text: string;
}

const sources: readonly Source[] = files(SRC).map((path) => {
  const file = relative(SRC, path).replaceAll("\\", "/");
  return { file, folder: folderOf(file), text: readFileSync(path, "utf8") };
});

function floorProblems({ file, folder, text }: Source): string[] {
  const allowed = FLOORS[folder];
  if (allowed === undefined)
    return [`src/${file}:1 is in a folder without a floor; give it one in test/architecture.test.ts`];
  const problems: string[] = [];
  const code = blank(text, true);
  for (const match of code.matchAll(/\b(?:from|import)\s*\(?\s*"(\.[^"]*)"/g)) {
    const target = posix.normalize(posix.join(posix.dirname(file), match[1]!));
    const to = folderOf(target);
    if (to === folder || to === "base" || allowed.includes(to)) continue;
    // The package's own description is no part of the house.
    if (target.startsWith("../")) continue;
    problems.push(
      `src/${file}:${lineOf(code, match.index)} imports src/${target}: ${folder} stands beside or below ${to}. ` +
        `It may import ${["base", ...allowed].join(", ")}; move the shared part down, or take it as an argument`,
    );
  }
  return problems;
}

function ruleProblems(source: Source, rules: readonly Rule[]): string[] {
  const problems: string[] = [];
  // Module names stand in texts, everything else in code.
  const withTexts = blank(source.text, true);
  const code = blank(source.text, false);
  for (const { pattern, what, reason, remedy } of rules) {
    if (ALLOWED.some((exception) => exception.file === source.file && exception.what === what)) continue;
    const searched = pattern.source.includes('"') ? withTexts : code;
    for (const match of searched.matchAll(pattern)) {
      problems.push(
        `src/${source.file}:${lineOf(searched, match.index)} touches ${what} (${match[0].trim()}): ${reason}; ${remedy}`,
      );
    }
  }
  return problems;
}

describe("architecture", () => {
  test("a folder imports from lower floors only, type imports included", () => {
    expect(sources.flatMap(floorProblems)).toEqual([]);
  });

  test("only the edge of the world touches time, chance, Node and libraries with timers", () => {
    const inside = sources.filter(({ folder }) => !EDGE_FOLDERS.includes(folder));
    const problems = inside.flatMap((source) => ruleProblems(source, WORLD));
    expect(problems).toEqual([]);
  });

  test("pure folders calculate: no process, console, locale or asynchronous code", () => {
    const pure = sources.filter(({ folder }) => PURE_FOLDERS.includes(folder));
    expect(pure.flatMap((source) => ruleProblems(source, PURE))).toEqual([]);
  });

  test("no export *, and no folder index inside", () => {
    const problems = sources.flatMap(({ file, text }) => {
      const code = blank(text, true);
      const stars = [...code.matchAll(/\bexport\s*\*/g)].map(
        (match) => `src/${file}:${lineOf(code, match.index)} says export *; name what you export`,
      );
      const hidden = /(^|\/)index\.ts$/.test(file) && !["index.ts", "testing/index.ts"].includes(file);
      return hidden ? [...stars, `src/${file}:1 hides its folder behind an index; import the file itself`] : stars;
    });
    expect(problems).toEqual([]);
  });
});

describe("the checker itself", () => {
  const source = (file: string, text: string): Source => ({ file, folder: folderOf(file), text });

  test("sees an import upwards, also of a type", () => {
    const upwards = source("kv/store.ts", 'import type { Lessor } from "../lease/lessor.ts";\n');
    expect(floorProblems(upwards)).toEqual([expect.stringContaining("src/kv/store.ts:1 imports src/lease/lessor.ts")]);
  });

  test("sees Node's halves as folders of their own", () => {
    const inner = source("server/server.ts", '\nimport { x } from "../platform/node/clock.ts";\n');
    expect(floorProblems(inner)).toEqual([expect.stringContaining("src/server/server.ts:2")]);
  });

  test.each([
    ["setTimeout(f, 1);", "timers"],
    ["const t = Date.now();", "Date"],
    ["const t = performance.now();", "performance"],
    ["const x = Math.random();", "Math.random"],
    ["AbortSignal.timeout(5);", "AbortSignal.timeout"],
    ["crypto.randomUUID();", "crypto"],
    ['import { readFileSync } from "node:fs";', "a node: module"],
    ['const fs = await import("node:fs");', "a node: module"],
    ['import { pino } from "pino";', "a library with timers"],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: code inside a template is code
    ["const s = `at ${Date.now()}`;", "Date"],
  ])("finds %s", (text, what) => {
    const found = ruleProblems(source("server/x.ts", text), WORLD);
    expect(found).toEqual([expect.stringContaining(`src/server/x.ts:1 touches ${what}`)]);
  });

  test.each([
    "// Date and setTimeout in a comment",
    "/** performance\n * Math.random() */",
    'const text = "setTimeout(now)";',
    "clock.setTimer(5); const lastDate = 1; x.performance = 2;",
  ])("leaves alone: %s", (text) => {
    expect(ruleProblems(source("server/x.ts", text), WORLD)).toEqual([]);
  });
});
