/**
 * `cluster.config.json`: its shape, the schema that the published JSON schema comes from, and the rule by which flags, environment, file and defaults meet. Other files ask for settings; only this one knows where each came from.
 */
import { readFileSync } from "node:fs";
import { basename, dirname, isAbsolute, join, resolve } from "node:path";
import * as v from "valibot";
import { StoreError } from "../base/errors.ts";
import { AUTO_COMPACTION_MODES, type AutoCompactionMode, parseRetention } from "../server/auto-compactor.ts";
import { DEFAULTS } from "../server/options.ts";
import { fail } from "./exit.ts";

/** A member's name is also the name of its directory, so it holds nothing that a path could misread. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const WS_URL = /^ws:\/\/(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}$/;

const count = (what: string): v.GenericSchema<unknown, number> =>
  v.pipe(
    v.number(`must be a number (${what})`),
    v.integer(`must be a whole number (${what})`),
    v.minValue(1, `must be at least 1 (${what})`),
    v.description(what),
  );
const url = (what: string) =>
  v.pipe(v.string("must be text"), v.regex(WS_URL, "must look like ws://127.0.0.1:7400"), v.description(what));
const path = (what: string) => v.pipe(v.string("must be text"), v.nonEmpty("must not be empty"), v.description(what));

const MemberSchema = v.strictObject({
  name: v.pipe(
    v.string("must be text"),
    v.regex(NAME, "must be 1 to 64 letters, digits, dots, dashes or underscores"),
    v.description("Unique in the cluster; the member's id follows from it."),
  ),
  clientUrl: url("Where this member listens for clients."),
  peerUrl: url("Where this member listens for the other members."),
  dir: v.optional(path("This member's data directory. Default: <dir>/<name>.")),
});

/** The settings that every member of the cluster shares, each optional: the defaults are the server's. */
const shared = {
  tickMs: v.optional(count("Milliseconds between two ticks of the consensus clock.")),
  heartbeatMs: v.optional(count("Milliseconds between two heartbeats of the leader.")),
  electionTimeoutMs: v.optional(count("Milliseconds without a leader after which a member campaigns.")),
  maxRequestBytes: v.optional(count("Largest request in bytes.")),
  maxTxnOps: v.optional(count("Most operations in one transaction.")),
  flushIntervalMs: v.optional(count("Milliseconds between two flushes of the state to disk.")),
  flushBytes: v.optional(count("Bytes of changed state that force a flush.")),
  trailingEntries: v.optional(count("Log entries kept behind the flushed state for slow members.")),
  trailingBytes: v.optional(count("Bytes of log kept behind the flushed state for slow members.")),
  maxPendingProposals: v.optional(count("Proposals a member holds before it answers TOO_MANY_REQUESTS.")),
  maxPendingBytes: v.optional(count("Bytes of proposals a member holds before it answers TOO_MANY_REQUESTS.")),
  maxWatchers: v.optional(
    count("Watchers that a member serves, on all connections, before it answers TOO_MANY_REQUESTS."),
  ),
  quotaBytes: v.optional(
    v.pipe(
      v.number("must be a number (bytes)"),
      v.integer("must be a whole number (bytes)"),
      v.description(
        "Bytes of the state above which writes are refused with NO_SPACE. 0: 2 GiB, the default. Below 0: no quota.",
      ),
    ),
  ),
};

export const LOG_LEVELS = ["debug", "info", "warn", "error", "silent"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** A member of `cluster.config.json`. */
export interface MemberConfig {
  readonly name: string;
  readonly clientUrl: string;
  readonly peerUrl: string;
  readonly dir?: string | undefined;
}

/** The numbers of `ServerOptions` that the file, the environment and flags may set. */
export type SharedNumber =
  | "tickMs"
  | "heartbeatMs"
  | "electionTimeoutMs"
  | "maxRequestBytes"
  | "maxTxnOps"
  | "flushIntervalMs"
  | "flushBytes"
  | "trailingEntries"
  | "trailingBytes"
  | "maxPendingProposals"
  | "maxPendingBytes"
  | "maxWatchers"
  | "quotaBytes";

/** `cluster.config.json`. The compiler holds the schema below to it. */
export interface ClusterConfig extends Readonly<Partial<Record<SharedNumber, number | undefined>>> {
  readonly $schema?: string | undefined;
  readonly token?: string | undefined;
  readonly dir?: string | undefined;
  readonly members: readonly MemberConfig[];
  readonly secretFile?: string | undefined;
  readonly allowedOrigins?: readonly string[] | undefined;
  readonly logLevel?: LogLevel | undefined;
  readonly autoCompactionMode?: AutoCompactionMode | undefined;
  readonly autoCompactionRetention?: string | number | undefined;
}

export const ClusterConfigSchema: v.GenericSchema<unknown, ClusterConfig> = v.pipe(
  v.strictObject({
    $schema: v.optional(v.pipe(v.string("must be text"), v.description("Where editors find this schema."))),
    token: v.optional(
      v.pipe(
        v.string("must be text"),
        v.nonEmpty("must not be empty"),
        v.description('Tells clusters apart: member and cluster ids follow from it. Default: "quorate-cluster".'),
      ),
    ),
    dir: v.optional(path('Data directory; each member takes a folder in it. Default: "quorate-data".')),
    members: v.pipe(
      v.array(MemberSchema, "must be a list of members"),
      v.minLength(1, "must name at least one member"),
      v.description("Every member of the cluster. All members start with the same list."),
    ),
    secretFile: v.optional(path("File that holds the cluster secret; needed to listen beyond the loopback address.")),
    allowedOrigins: v.optional(
      v.pipe(
        v.array(v.string("must be text"), "must be a list of origins"),
        v.description("Web origins whose pages may connect. Default: none."),
      ),
    ),
    logLevel: v.optional(
      v.pipe(v.picklist(LOG_LEVELS, `must be one of ${LOG_LEVELS.join(", ")}`), v.description('Default: "warn".')),
    ),
    autoCompactionMode: v.optional(
      v.pipe(
        v.picklist(AUTO_COMPACTION_MODES, `must be one of ${AUTO_COMPACTION_MODES.join(", ")}`),
        v.description('Whether old revisions are forgotten by time or by number. Default: "periodic".'),
      ),
    ),
    autoCompactionRetention: v.optional(
      v.pipe(
        v.union([v.string(), v.number()], "must be a number or text"),
        v.description(
          'What is kept: hours or a period such as "10m"; in mode "revision" how many revisions. 0: compact on request only. Default: 1 hour.',
        ),
      ),
    ),
    ...shared,
  }),
  v.title("quorate cluster configuration"),
);

export const SHARED_NUMBERS: readonly SharedNumber[] = Object.keys(shared) as SharedNumber[];

export const DEFAULT_DIR = "quorate-data";
export const DEFAULT_TOKEN = "quorate-cluster";
export const DEFAULT_BASE_PORT = 7400;
export const DEFAULT_NODES = 3;

/** A configuration with every path absolute and every rule between fields checked. */
export interface ResolvedCluster {
  readonly token: string;
  readonly dir: string;
  readonly members: readonly (MemberConfig & { readonly dir: string })[];
  readonly secretFile: string | undefined;
  readonly allowedOrigins: readonly string[] | undefined;
  readonly logLevel: LogLevel;
  readonly numbers: Readonly<Partial<Record<SharedNumber, number>>>;
  readonly autoCompaction: AutoCompaction;
}

/** As given, for members to read; what is absent is the server's default. */
export interface AutoCompaction {
  readonly autoCompactionMode?: AutoCompactionMode;
  readonly autoCompactionRetention?: string | number;
}

function bad(file: string, what: string): never {
  throw new StoreError("BAD_CONFIG", { message: `${file}: ${what}` });
}

/** `members[1].peerUrl`, as one would write it. */
function fieldName(issue: v.BaseIssue<unknown>): string {
  let name = "";
  for (const item of issue.path ?? []) {
    name += typeof item.key === "number" ? `[${item.key}]` : name === "" ? String(item.key) : `.${String(item.key)}`;
  }
  return name;
}

/** Checks a configuration and names the first field that is wrong. `file` is only for the message. Throws `BAD_CONFIG`. */
export function parseClusterConfig(input: unknown, file: string): ClusterConfig {
  const parsed = v.safeParse(ClusterConfigSchema, input, { abortEarly: true });
  if (!parsed.success) {
    const issue = parsed.issues[0];
    const field = fieldName(issue);
    if (field === "") return bad(file, "must be a JSON object");
    if (issue.type === "strict_object") {
      if (issue.expected === "never") return bad(file, `unknown field "${field}"`);
      return bad(
        file,
        issue.received === "undefined" ? `field "${field}" is missing` : `field "${field}" must be an object`,
      );
    }
    return bad(file, `field "${field}" ${issue.message}`);
  }
  checkTogether(parsed.output, file);
  return parsed.output;
}

/** What no single field can get wrong alone. */
function checkTogether(config: ClusterConfig, file: string): void {
  const seen = new Map<string, string>();
  for (const [i, member] of config.members.entries()) {
    for (const field of ["name", "clientUrl", "peerUrl"] as const) {
      const where = `members[${i}].${field}`;
      const key = `${field === "name" ? "name" : "url"} ${member[field]}`;
      const first = seen.get(key);
      if (first !== undefined) bad(file, `field "${where}" repeats "${first}" (${member[field]})`);
      seen.set(key, where);
      if (field !== "name") checkPort(member[field], where, file);
    }
  }
  checkNumbers(config, file);
}

function checkPort(text: string, where: string, file: string): void {
  const port = Number(text.slice(text.lastIndexOf(":") + 1));
  if (port < 1 || port > 65_535) bad(file, `field "${where}" has no valid port (1 to 65535): ${text}`);
}

function checkNumbers(numbers: Partial<Record<SharedNumber, number | undefined>>, file: string): void {
  const tick = numbers.tickMs ?? DEFAULTS.tickMs;
  const heartbeat = numbers.heartbeatMs ?? DEFAULTS.heartbeatMs;
  const election = numbers.electionTimeoutMs ?? DEFAULTS.electionTimeoutMs;
  if (heartbeat < tick) bad(file, `field "heartbeatMs" (${heartbeat}) must be at least "tickMs" (${tick})`);
  if (election < 5 * heartbeat)
    bad(file, `field "electionTimeoutMs" (${election}) must be at least 5 times "heartbeatMs" (${heartbeat})`);
}

function checkAutoCompaction({ autoCompactionMode, autoCompactionRetention }: AutoCompaction, file: string): void {
  try {
    parseRetention(autoCompactionMode ?? DEFAULTS.autoCompactionMode, autoCompactionRetention);
  } catch (error) {
    if (StoreError.is(error)) bad(file, error.message.replace(/^quorate: /, ""));
    throw error;
  }
}

/** Reads and checks a file. An unreadable file ends the command with the I/O exit code. */
export function readClusterConfig(file: string): ClusterConfig {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    return fail("io", `cannot read ${file}: ${(error as Error).message.split(",")[0]}`);
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    return bad(basename(file), `not valid JSON: ${(error as Error).message.split("\n")[0]}`);
  }
  return parseClusterConfig(json, basename(file));
}

/** Member i (from 1) listens for clients on base + 2(i-1) and for peers on the port after it. */
export function memberUrls(basePort: number, index: number): { readonly clientUrl: string; readonly peerUrl: string } {
  const port = basePort + 2 * (index - 1);
  return { clientUrl: `ws://127.0.0.1:${port}`, peerUrl: `ws://127.0.0.1:${port + 1}` };
}

export interface ClusterOverrides {
  readonly config?: string | undefined;
  readonly dir?: string | undefined;
  readonly nodes?: number | undefined;
  /** Never 0 here: the launcher has already taken a free block. */
  readonly basePort?: number | undefined;
  readonly token?: string | undefined;
  readonly secretFile?: string | undefined;
  readonly allowedOrigins?: readonly string[] | undefined;
  readonly logLevel?: LogLevel | undefined;
  readonly numbers?: Readonly<Partial<Record<SharedNumber, number>>> | undefined;
  readonly autoCompactionMode?: AutoCompactionMode | undefined;
  readonly autoCompactionRetention?: string | number | undefined;
}

/** Names of the members, with flags over file over defaults. */
export function memberNames(file: ClusterConfig | undefined, nodes: number | undefined): readonly string[] {
  const named = file?.members.map((member) => member.name) ?? [];
  const length = nodes ?? (named.length > 0 ? named.length : DEFAULT_NODES);
  return Array.from({ length }, (_, i) => named[i] ?? `n${i + 1}`);
}

/** Lays flags and environment (already merged by the command line) over the file, and defaults under it. */
export function resolveCluster(overrides: ClusterOverrides, file: ClusterConfig | undefined): ResolvedCluster {
  // Paths in a file mean what they say from where the file stands; flags, from where the user stands.
  const base = overrides.config === undefined ? process.cwd() : dirname(resolve(overrides.config));
  const fromFile = (p: string | undefined) => (p === undefined ? undefined : isAbsolute(p) ? p : resolve(base, p));
  const fromFlag = (p: string | undefined) => (p === undefined ? undefined : resolve(p));

  const dir = fromFlag(overrides.dir) ?? fromFile(file?.dir) ?? resolve(DEFAULT_DIR);
  const laidOut = overrides.nodes !== undefined || overrides.basePort !== undefined || file === undefined;
  const names = memberNames(file, overrides.nodes);
  const members = names.map((name, i) => {
    const given = file?.members[i];
    const urls =
      laidOut || given === undefined
        ? memberUrls(overrides.basePort ?? DEFAULT_BASE_PORT, i + 1)
        : { clientUrl: given.clientUrl, peerUrl: given.peerUrl };
    // A directory named on the command line moves the whole cluster, whatever the file says of one member.
    const own = overrides.dir === undefined ? fromFile(given?.dir) : undefined;
    return { name, ...urls, dir: own ?? join(dir, name) };
  });

  const numbers: Partial<Record<SharedNumber, number>> = {};
  for (const name of SHARED_NUMBERS) {
    const value = overrides.numbers?.[name] ?? file?.[name];
    if (value !== undefined) numbers[name] = value;
  }
  const where = overrides.config === undefined ? "settings" : basename(overrides.config);
  checkNumbers(numbers, where);
  const mode = overrides.autoCompactionMode ?? file?.autoCompactionMode;
  const retention = overrides.autoCompactionRetention ?? file?.autoCompactionRetention;
  const autoCompaction = {
    ...(mode === undefined ? {} : { autoCompactionMode: mode }),
    ...(retention === undefined ? {} : { autoCompactionRetention: retention }),
  };
  checkAutoCompaction(autoCompaction, where);

  return {
    token: overrides.token ?? file?.token ?? DEFAULT_TOKEN,
    dir,
    members,
    secretFile: fromFlag(overrides.secretFile) ?? fromFile(file?.secretFile),
    allowedOrigins: overrides.allowedOrigins ?? file?.allowedOrigins,
    logLevel: overrides.logLevel ?? file?.logLevel ?? "warn",
    numbers,
    autoCompaction,
  };
}

/** The same as a file again, for members to read: the launcher writes it so that each can also be run by hand. */
export function toClusterConfig(cluster: ResolvedCluster): ClusterConfig {
  return {
    token: cluster.token,
    dir: cluster.dir,
    members: cluster.members.map(({ name, clientUrl, peerUrl, dir }) => ({ name, clientUrl, peerUrl, dir })),
    ...(cluster.secretFile === undefined ? {} : { secretFile: cluster.secretFile }),
    ...(cluster.allowedOrigins === undefined ? {} : { allowedOrigins: [...cluster.allowedOrigins] }),
    logLevel: cluster.logLevel,
    ...cluster.numbers,
    ...cluster.autoCompaction,
  };
}

/** The secret in a file, without the line end that editors add. */
export function readSecret(file: string): string {
  let text: string;
  try {
    text = readFileSync(file, "utf8").trim();
  } catch (error) {
    return fail("io", `cannot read the secret file ${file}: ${(error as Error).message.split(",")[0]}`);
  }
  if (text === "") throw new StoreError("BAD_CONFIG", { message: `the secret file ${file} is empty` });
  return text;
}
