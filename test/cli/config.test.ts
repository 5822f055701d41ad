import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { clusterConfigJsonSchema, SCHEMA_FILE } from "../../scripts/generate-schema.ts";
import {
  type ClusterConfig,
  memberUrls,
  parseClusterConfig,
  readClusterConfig,
  resolveCluster,
  toClusterConfig,
} from "../../src/cli/config.ts";
import { exitCodeOf } from "../../src/cli/exit.ts";

const n1 = { name: "n1", clientUrl: "ws://127.0.0.1:7400", peerUrl: "ws://127.0.0.1:7401" };
const n2 = { name: "n2", clientUrl: "ws://127.0.0.1:7402", peerUrl: "ws://127.0.0.1:7403" };

function temporaryDir(): string {
  const dir = mkdtempSync(join(tmpdir(), "quorate-config-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

test("the published JSON schema is the one in the code (npm run schema rewrites it)", () => {
  expect(JSON.parse(readFileSync(SCHEMA_FILE, "utf8"))).toEqual(JSON.parse(JSON.stringify(clusterConfigJsonSchema())));
});

test("the shipped cluster.config.json is valid and says what the defaults say", () => {
  const file = new URL("../../cluster.config.json", import.meta.url).pathname;
  const shipped = resolveCluster({ config: file }, readClusterConfig(file));
  const defaults = resolveCluster({}, undefined);
  expect({ ...shipped, dir: "", members: shipped.members.map(({ dir: _, ...rest }) => rest) }).toEqual({
    ...defaults,
    dir: "",
    members: defaults.members.map(({ dir: _, ...rest }) => rest),
  });
});

describe("a bad field is named", () => {
  test.each<[string, unknown, string]>([
    ["not an object", 7, "c.json: must be a JSON object"],
    ["nothing", {}, 'c.json: field "members" is missing'],
    ["an unknown field", { members: [n1], memebrs: [] }, 'c.json: unknown field "memebrs"'],
    ["an unknown field of a member", { members: [n1, { ...n2, por: 1 }] }, 'c.json: unknown field "members[1].por"'],
    [
      "a member without a name",
      { members: [{ ...n1, name: undefined }] },
      'c.json: field "members[0].name" must be text',
    ],
    [
      "a missing URL",
      { members: [{ name: "a", clientUrl: n1.clientUrl }] },
      'c.json: field "members[0].peerUrl" is missing',
    ],
    ["no members", { members: [] }, 'c.json: field "members" must name at least one member'],
    ["members of the wrong type", { members: {} }, 'c.json: field "members" must be a list of members'],
    [
      "a name with a slash",
      { members: [{ ...n1, name: "../n1" }] },
      'c.json: field "members[0].name" must be 1 to 64 letters',
    ],
    [
      "another scheme",
      { members: [{ ...n1, peerUrl: "http://a:1" }] },
      'c.json: field "members[0].peerUrl" must look like',
    ],
    [
      "a port out of range",
      { members: [{ ...n1, peerUrl: "ws://a:70000" }] },
      'field "members[0].peerUrl" has no valid port',
    ],
    [
      "two members of one name",
      { members: [n1, { ...n2, name: "n1" }] },
      'field "members[1].name" repeats "members[0].name"',
    ],
    [
      "one address twice",
      { members: [n1, { ...n2, peerUrl: n1.clientUrl }] },
      'field "members[1].peerUrl" repeats "members[0].clientUrl"',
    ],
    ["a fraction", { members: [n1], heartbeatMs: 1.5 }, 'c.json: field "heartbeatMs" must be a whole number'],
    ["a number as text", { members: [n1], tickMs: "20" }, 'c.json: field "tickMs" must be a number'],
    ["zero", { members: [n1], flushBytes: 0 }, 'c.json: field "flushBytes" must be at least 1'],
    ["no watchers", { members: [n1], maxWatchers: 0 }, 'c.json: field "maxWatchers" must be at least 1'],
    ["a quota as text", { members: [n1], quotaBytes: "2G" }, 'c.json: field "quotaBytes" must be a number'],
    [
      "an unknown way to compact",
      { members: [n1], autoCompactionMode: "hourly" },
      'c.json: field "autoCompactionMode" must be one of periodic, revision',
    ],
    [
      "a retention that is a list",
      { members: [n1], autoCompactionRetention: [] },
      'c.json: field "autoCompactionRetention" must be a number or text',
    ],
    ["an unknown level", { members: [n1], logLevel: "loud" }, 'c.json: field "logLevel" must be one of debug'],
    [
      "a heartbeat below a tick",
      { members: [n1], heartbeatMs: 10 },
      'field "heartbeatMs" (10) must be at least "tickMs" (20)',
    ],
    [
      "too short an election",
      { members: [n1], electionTimeoutMs: 200 },
      'field "electionTimeoutMs" (200) must be at least 5 times',
    ],
  ])("%s", (_, input, message) => {
    let caught: unknown;
    try {
      parseClusterConfig(input, "c.json");
    } catch (error) {
      caught = error;
    }
    expect((caught as Error)?.message).toContain(message);
    expect((caught as Error).message).not.toContain("\n");
    expect(exitCodeOf(caught)).toBe(128);
  });

  test("a file that is not JSON names the file", () => {
    const file = join(temporaryDir(), "c.json");
    writeFileSync(file, "{ members: }");
    expect(() => readClusterConfig(file)).toThrow(/^c\.json: not valid JSON/);
  });

  test("an absent file is an I/O error", () => {
    const file = join(temporaryDir(), "absent.json");
    let caught: unknown;
    try {
      readClusterConfig(file);
    } catch (error) {
      caught = error;
    }
    expect((caught as Error).message).toContain(`cannot read ${file}`);
    expect(exitCodeOf(caught)).toBe(6);
  });
});

describe("flags before file before defaults", () => {
  const file: ClusterConfig = {
    token: "mine",
    dir: "store",
    members: [n1, { ...n2, dir: "elsewhere" }],
    heartbeatMs: 50,
  };
  const config = "/etc/quorate/c.json";

  test("with nothing, three members from port 7400", () => {
    const cluster = resolveCluster({}, undefined);
    expect(cluster.token).toBe("quorate-cluster");
    expect(cluster.logLevel).toBe("warn");
    expect(cluster.members.map(({ name, clientUrl, peerUrl }) => [name, clientUrl, peerUrl])).toEqual([
      ["n1", "ws://127.0.0.1:7400", "ws://127.0.0.1:7401"],
      ["n2", "ws://127.0.0.1:7402", "ws://127.0.0.1:7403"],
      ["n3", "ws://127.0.0.1:7404", "ws://127.0.0.1:7405"],
    ]);
    expect(cluster.members[2]?.dir).toBe(resolve("quorate-data/n3"));
  });

  test("paths in the file start from the file", () => {
    const cluster = resolveCluster({ config }, file);
    expect(cluster.members.map((member) => member.dir)).toEqual(["/etc/quorate/store/n1", "/etc/quorate/elsewhere"]);
    expect(cluster.token).toBe("mine");
    expect(cluster.numbers).toEqual({ heartbeatMs: 50 });
  });

  test("a flag beats the file", () => {
    const cluster = resolveCluster({ config, dir: "/flag", token: "flag", numbers: { heartbeatMs: 40 } }, file);
    expect(cluster.members.map((member) => member.dir)).toEqual(["/flag/n1", "/flag/n2"]);
    expect(cluster.token).toBe("flag");
    expect(cluster.numbers).toEqual({ heartbeatMs: 40 });
  });

  test("a number of nodes or a base port lays the addresses out anew and keeps the names", () => {
    const named: ClusterConfig = { members: [{ ...n1, name: "red" }, n2] };
    const cluster = resolveCluster({ config, nodes: 3, basePort: 9000 }, named);
    expect(cluster.members.map((member) => member.name)).toEqual(["red", "n2", "n3"]);
    expect(cluster.members[2]).toMatchObject(memberUrls(9000, 3));
  });

  test("numbers that contradict each other are refused whichever way they came", () => {
    expect(() => resolveCluster({ config, numbers: { electionTimeoutMs: 100 } }, file)).toThrow(/electionTimeoutMs/);
  });

  test("compaction is checked with all that was said of it, wherever each word came from", () => {
    const byCount: ClusterConfig = { ...file, autoCompactionMode: "revision" };
    expect(() => resolveCluster({ config }, byCount)).toThrow(/c.json: autoCompactionMode revision needs/);
    expect(resolveCluster({ config, autoCompactionRetention: "500" }, byCount).autoCompaction).toEqual({
      autoCompactionMode: "revision",
      autoCompactionRetention: "500",
    });
    expect(() => resolveCluster({ config, autoCompactionRetention: "10m" }, byCount)).toThrow(/number of revisions/);
  });

  test("what the launcher writes for its members reads back the same", () => {
    const cluster = resolveCluster(
      {
        config,
        logLevel: "info",
        allowedOrigins: ["http://a"],
        numbers: { maxWatchers: 9, quotaBytes: -1 },
        autoCompactionRetention: "10m",
      },
      file,
    );
    expect(cluster.autoCompaction).toEqual({ autoCompactionRetention: "10m" });
    expect(cluster.numbers).toEqual({ heartbeatMs: 50, maxWatchers: 9, quotaBytes: -1 });
    const again = parseClusterConfig(JSON.parse(JSON.stringify(toClusterConfig(cluster))), "c.json");
    expect(resolveCluster({ config: "/other/c.json" }, again)).toEqual(cluster);
  });
});
