import { describe, expect, test } from "vitest";
import { decodeUtf8, encodeUtf8 } from "../../src/base/bytes.ts";
import { clusterId, leaseId, memberId, NO_LEASE, revision, term } from "../../src/base/ids.ts";
import { CommandError } from "../../src/cli/exit.ts";
import { FORMATS, type Format } from "../../src/cli/globals.ts";
import {
  formatHashes,
  formatHealth,
  formatResponse,
  formatStatuses,
  type ResponseOptions,
} from "../../src/cli/output.ts";
import type { KeyValue, Member, ResponseHeader } from "../../src/protocol/key-value.ts";
import type { AlarmResult, Result, StatusResult } from "../../src/protocol/responses.ts";

const header: ResponseHeader = {
  clusterId: clusterId(14_841_639_068_965_178_418n),
  memberId: memberId(10_276_657_743_932_975_437n),
  revision: revision(7),
  raftTerm: term(2),
};
/** Membership answers have no revision. */
const noRevision = { ...header, revision: revision(0) };
const kv = (key: string, value: string, lease = NO_LEASE): KeyValue => ({
  key: encodeUtf8(key),
  createRevision: revision(2),
  modRevision: revision(3),
  version: 2,
  value: encodeUtf8(value),
  lease,
});

function shown(result: Result, options: Partial<ResponseOptions> = {}, stamp: ResponseHeader = header): string {
  return decodeUtf8(formatResponse({ header: stamp, result }, { format: "simple", hex: false, ...options }));
}

const HEADER_JSON =
  '"header":{"cluster_id":14841639068965178418,"member_id":10276657743932975437,"revision":7,"raft_term":2}';
const HEADER_FIELDS = `"ClusterID" : 14841639068965178418
"MemberID" : 10276657743932975437
"Revision" : 7
"RaftTerm" : 2
`;

const range = (kvs: readonly KeyValue[], more = false, count = kvs.length): Result => ({
  kind: "range",
  revision: revision(7),
  kvs,
  more,
  count,
});

describe("get", () => {
  const found = range([kv("foo", "bar"), kv("", "", leaseId(0x1234n))], true, 5);

  test("simple: key and value, each on its line; nothing found is nothing", () => {
    expect(shown(found)).toBe("foo\nbar\n\n\n");
    expect(shown(found, { valueOnly: true })).toBe("bar\n\n");
    expect(shown(found, { hex: true })).toBe("\\x66\\x6f\\x6f\n\\x62\\x61\\x72\n\n\n");
    expect(shown(range([]))).toBe("");
  });

  test("simple: bytes come out as they are", () => {
    const binary = { ...kv("", ""), key: Uint8Array.of(0xff, 0x00), value: Uint8Array.of(0xc3, 0x28) };
    const bytes = formatResponse({ header, result: range([binary]) }, { format: "simple", hex: false });
    expect([...bytes]).toEqual([0xff, 0x00, 0x0a, 0xc3, 0x28, 0x0a]);
  });

  test("json: numbers unquoted, bytes in base64, nothing that is zero or empty", () => {
    expect(shown(found, { format: "json" })).toBe(
      `{${HEADER_JSON},"kvs":[` +
        '{"key":"Zm9v","create_revision":2,"mod_revision":3,"version":2,"value":"YmFy"},' +
        '{"create_revision":2,"mod_revision":3,"version":2,"lease":4660}],"more":true,"count":5}\n',
    );
    expect(shown(range([]), { format: "json" })).toBe(`{${HEADER_JSON}}\n`);
  });

  test("fields", () => {
    const strange = { ...kv('a\n"\\\u0001é\u{1f600}\u00a0', ""), value: Uint8Array.of(0xff, 0x61, 0xe2, 0x82) };
    expect(shown(range([strange]), { format: "fields" })).toBe(
      `${HEADER_FIELDS}"Key" : "a\\n\\"\\\\\\x01é\u{1f600}\\u00a0"\n` +
        '"CreateRevision" : 2\n"ModRevision" : 3\n"Version" : 2\n"Value" : "\\xffa\\xe2\\x82"\n"Lease" : 0\n' +
        '"More" : false\n"Count" : 1\n',
    );
  });

  test("fields with --hex: ids in hexadecimal", () => {
    expect(shown(range([kv("a", "b", leaseId(-1n))]), { format: "fields", hex: true })).toBe(
      '"ClusterID" : cdf818194e3a8c32\n"MemberID" : 8e9e05c52164694d\n"Revision" : 7\n"RaftTerm" : 2\n' +
        '"Key" : "a"\n"CreateRevision" : 2\n"ModRevision" : 3\n"Version" : 2\n"Value" : "b"\n"Lease" : ffffffffffffffff\n' +
        '"More" : false\n"Count" : 1\n',
    );
  });
});

describe("put", () => {
  const plain: Result = { kind: "put", revision: revision(7) };
  const previous: Result = { ...plain, prevKv: kv("a", "old") };

  test("in every format", () => {
    expect(shown(plain)).toBe("OK\n");
    expect(shown(previous)).toBe("OK\na\nold\n");
    expect(shown(plain, { format: "json" })).toBe(`{${HEADER_JSON}}\n`);
    expect(shown(previous, { format: "json" })).toBe(
      `{${HEADER_JSON},"prev_kv":{"key":"YQ==","create_revision":2,"mod_revision":3,"version":2,"value":"b2xk"}}\n`,
    );
    expect(shown(previous, { format: "fields" })).toBe(
      `${HEADER_FIELDS}"PrevKey" : "a"\n"PrevCreateRevision" : 2\n"PrevModRevision" : 3\n"PrevVersion" : 2\n` +
        '"PrevValue" : "old"\n"PrevLease" : 0\n',
    );
  });
});

describe("del", () => {
  const none: Result = { kind: "deleteRange", revision: revision(7), deleted: 0, prevKvs: [] };
  const one: Result = { ...none, deleted: 1, prevKvs: [kv("a", "old")] };

  test("in every format", () => {
    expect(shown(none)).toBe("0\n");
    expect(shown(one)).toBe("1\na\nold\n");
    expect(shown(none, { format: "json" })).toBe(`{${HEADER_JSON}}\n`);
    expect(shown(one, { format: "json" })).toBe(
      `{${HEADER_JSON},"deleted":1,"prev_kvs":[{"key":"YQ==","create_revision":2,"mod_revision":3,"version":2,"value":"b2xk"}]}\n`,
    );
    expect(shown(one, { format: "fields" })).toMatch(/"Deleted" : 1\n"PrevKey" : "a"\n/);
  });
});

describe("txn", () => {
  const result: Result = {
    kind: "txn",
    revision: revision(7),
    succeeded: true,
    results: [
      { kind: "put", revision: revision(7) },
      { kind: "range", revision: revision(7), kvs: [kv("a", "1")], more: false, count: 1 },
      { kind: "deleteRange", revision: revision(7), deleted: 2, prevKvs: [] },
    ],
  };

  test("simple: an empty line before each operation's output", () => {
    expect(shown(result)).toBe("SUCCESS\n\nOK\n\na\n1\n\n2\n");
    expect(shown({ kind: "txn", revision: revision(7), succeeded: false, results: [] })).toBe("FAILURE\n");
  });

  test("json: nested headers hold the revision alone, that of a nested txn nothing", () => {
    const nested: Result = {
      ...result,
      results: [...result.results, { kind: "txn", revision: revision(7), succeeded: false, results: [] }],
    };
    expect(shown(nested, { format: "json" })).toBe(
      `{${HEADER_JSON},"succeeded":true,"responses":[` +
        '{"Response":{"response_put":{"header":{"revision":7}}}},' +
        '{"Response":{"response_range":{"header":{"revision":7},"kvs":[{"key":"YQ==","create_revision":2,"mod_revision":3,"version":2,"value":"MQ=="}],"count":1}}},' +
        '{"Response":{"response_delete_range":{"header":{"revision":7},"deleted":2}}},' +
        '{"Response":{"response_txn":{"header":{}}}}]}\n',
    );
    expect(shown({ ...result, succeeded: false, results: [] }, { format: "json" })).toBe(`{${HEADER_JSON}}\n`);
  });

  test("fields", () => {
    const nestedHeader = '"ClusterID" : 0\n"MemberID" : 0\n"Revision" : 7\n"RaftTerm" : 0\n';
    expect(shown(result, { format: "fields" })).toBe(
      `${HEADER_FIELDS}"Succeeded" : true\n${nestedHeader}${nestedHeader}` +
        '"Key" : "a"\n"CreateRevision" : 2\n"ModRevision" : 3\n"Version" : 2\n"Value" : "1"\n"Lease" : 0\n' +
        `"More" : false\n"Count" : 1\n${nestedHeader}"Deleted" : 2\n`,
    );
  });
});

test("compaction says the same in every format", () => {
  for (const format of ["simple", "json", "fields"] as const) {
    expect(shown({ kind: "compact", revision: revision(9) }, { format, revision: 4 })).toBe("compacted revision 4\n");
  }
});

describe("member", () => {
  const n1: Member = {
    id: memberId(0x8211_f1d0_f64f_3269n),
    name: "n1",
    peerUrls: ["ws://127.0.0.1:7401", "ws://[::1]:7401"],
    clientUrls: ["ws://127.0.0.1:7400"],
    isLearner: false,
  };
  const added: Member = {
    id: memberId(0xa1n),
    name: "",
    peerUrls: ["ws://127.0.0.1:7407"],
    clientUrls: [],
    isLearner: true,
  };
  const list: Result = { kind: "members", members: [n1, added] };
  const members = (result: Result, options: Partial<ResponseOptions>): string => shown(result, options, noRevision);

  test("list, simple", () => {
    expect(members(list, { verb: "list" })).toBe(
      "8211f1d0f64f3269, started, n1, ws://127.0.0.1:7401,ws://[::1]:7401, ws://127.0.0.1:7400, false\n" +
        "a1, unstarted, , ws://127.0.0.1:7407, , true\n",
    );
  });

  test("list, table", () => {
    const short: Result = {
      kind: "members",
      members: [{ ...n1, peerUrls: ["ws://a:1"], clientUrls: ["ws://a:2"] }, added],
    };
    expect(members(short, { verb: "list", format: "table" })).toBe(
      `+------------------+-----------+------+---------------------+--------------+------------+
|        ID        |  STATUS   | NAME |     PEER ADDRS      | CLIENT ADDRS | IS LEARNER |
+------------------+-----------+------+---------------------+--------------+------------+
| 8211f1d0f64f3269 |   started |   n1 |            ws://a:1 |     ws://a:2 |      false |
|               a1 | unstarted |      | ws://127.0.0.1:7407 |              |       true |
+------------------+-----------+------+---------------------+--------------+------------+
`,
    );
  });

  test("list, json, ids as numbers or with --hex as text", () => {
    expect(members(list, { verb: "list", format: "json" })).toBe(
      '{"header":{"cluster_id":14841639068965178418,"member_id":10276657743932975437,"raft_term":2},"members":[' +
        '{"ID":9372538179322589801,"name":"n1","peerURLs":["ws://127.0.0.1:7401","ws://[::1]:7401"],"clientURLs":["ws://127.0.0.1:7400"]},' +
        '{"ID":161,"peerURLs":["ws://127.0.0.1:7407"],"isLearner":true}]}\n',
    );
    expect(members(list, { verb: "list", format: "json", hex: true })).toBe(
      '{"header":{"cluster_id":"cdf818194e3a8c32","member_id":"8e9e05c52164694d","raft_term":2},"members":[' +
        '{"ID":"8211f1d0f64f3269","name":"n1","peerURLs":["ws://127.0.0.1:7401","ws://[::1]:7401"],"clientURLs":["ws://127.0.0.1:7400"]},' +
        '{"ID":"a1","peerURLs":["ws://127.0.0.1:7407"],"isLearner":true}]}\n',
    );
  });

  test("list, fields: an empty line after each member", () => {
    expect(members({ kind: "members", members: [added] }, { verb: "list", format: "fields" })).toBe(
      '"ClusterID" : 14841639068965178418\n"MemberID" : 10276657743932975437\n"RaftTerm" : 2\n' +
        '"ID" : 161\n"Name" : ""\n"PeerURL" : "ws://127.0.0.1:7407"\n"IsLearner" : true\n\n',
    );
  });

  test("add tells with what to start the new member", () => {
    const result: Result = { kind: "members", member: added, members: [n1, added] };
    expect(members(result, { verb: "add", name: "n4" })).toBe(
      `Member               a1 added as learner to cluster cdf818194e3a8c32

ETCD_NAME="n4"
ETCD_INITIAL_CLUSTER="n1=ws://127.0.0.1:7401,n1=ws://[::1]:7401,n4=ws://127.0.0.1:7407"
ETCD_INITIAL_ADVERTISE_PEER_URLS="ws://127.0.0.1:7407"
ETCD_INITIAL_CLUSTER_STATE="existing"
`,
    );
    const voter: Result = { kind: "members", member: { ...added, isLearner: false }, members: [] };
    expect(members(voter, { verb: "add", name: "n4" })).toMatch(/^Member {15}a1 added to cluster cdf818194e3a8c32\n/);
    expect(members(result, { verb: "add", name: "n4", format: "json" })).toMatch(
      /"member":\{"ID":161,.*\},"members":\[/,
    );
  });

  test.each([
    ["remove", "removed from"],
    ["update", "updated in"],
    ["promote", "promoted in"],
  ] as const)("%s", (verb, words) => {
    expect(members({ kind: "members", members: [] }, { verb, id: added.id })).toBe(
      `Member               a1 ${words} cluster cdf818194e3a8c32\n`,
    );
  });

  test("what etcdctl does not show in a format is a bad feature", () => {
    const wrong: readonly (readonly [Result, Partial<ResponseOptions>])[] = [
      [list, { verb: "add", format: "fields" }],
      [list, { verb: "remove", format: "table" }],
      [range([]), { format: "table" }],
      [{ kind: "moveLeader" }, {}],
    ];
    for (const [result, options] of wrong) {
      expect(() => shown(result, options)).toThrow(
        expect.objectContaining({
          exit: "badFeature",
          message: expect.stringContaining("not supported as output format"),
        }),
      );
      expect(() => shown(result, options)).toThrow(CommandError);
    }
  });
});

describe("endpoint", () => {
  const status: StatusResult = {
    kind: "status",
    revision: revision(7),
    version: "0.1.0",
    dbSize: 20_480,
    dbSizeInUse: 16_384,
    dbSizeQuota: 2_147_483_648,
    leader: header.memberId,
    raftIndex: 1_234,
    raftTerm: 2,
    raftAppliedIndex: 1_230,
    errors: [],
    isLearner: false,
    stateHash: "ab",
  };
  const { leader: _, ...leaderless } = status;
  const rows = [
    { endpoint: "127.0.0.1:7400", answer: { header, ...status } },
    {
      endpoint: "127.0.0.1:7402",
      answer: {
        header: { ...header, memberId: memberId(0xa1n) },
        ...leaderless,
        dbSize: 5,
        dbSizeInUse: 5,
        dbSizeQuota: 0,
        errors: ["etcdserver: no leader", "x"],
      },
    },
  ];
  const as = (format: Format, hex = false) => ({ format, hex });

  test("status, simple", () => {
    expect(formatStatuses(rows, as("simple"))).toBe(
      "127.0.0.1:7400, 8e9e05c52164694d, 0.1.0, , 20 kB, 16 kB, 20%, 2.1 GB, true, false, 2, 1234, 1230, , , false\n" +
        "127.0.0.1:7402, a1, 0.1.0, , 5 B, 5 B, 0%, 0 B, false, false, 2, 1234, 1230, etcdserver: no leader, x, , false\n",
    );
  });

  test("status, json", () => {
    expect(formatStatuses(rows, as("json"))).toBe(
      `[{"Endpoint":"127.0.0.1:7400","Status":{${HEADER_JSON},"version":"0.1.0","dbSize":20480,"leader":10276657743932975437,` +
        '"raftIndex":1234,"raftTerm":2,"raftAppliedIndex":1230,"dbSizeInUse":16384,"dbSizeQuota":2147483648,"downgradeInfo":{}}},' +
        '{"Endpoint":"127.0.0.1:7402","Status":{"header":{"cluster_id":14841639068965178418,"member_id":161,"revision":7,"raft_term":2},' +
        '"version":"0.1.0","dbSize":5,"raftIndex":1234,"raftTerm":2,"raftAppliedIndex":1230,"errors":["etcdserver: no leader","x"],' +
        '"dbSizeInUse":5,"downgradeInfo":{}}}]\n',
    );
    expect(formatStatuses([], as("json"))).toBe("[]\n");
  });

  test("status, fields", () => {
    expect(formatStatuses(rows.slice(1), as("fields"))).toBe(
      '"ClusterID" : 14841639068965178418\n"MemberID" : 161\n"Revision" : 7\n"RaftTerm" : 2\n"Version" : "0.1.0"\n"StorageVersion" : ""\n' +
        '"DBSize" : 5\n"DBSizeInUse" : 5\n"DBSizeQuota" : 0\n"Leader" : 0\n"IsLearner" : false\n' +
        '"RaftIndex" : 1234\n"RaftTerm" : 2\n"RaftAppliedIndex" : 1230\n"Errors" : [etcdserver: no leader x]\n' +
        '"Endpoint" : "127.0.0.1:7402"\n"DowngradeTargetVersion" : ""\n"DowngradeEnabled" : false\n\n',
    );
  });

  test("status, table", () => {
    const lines = formatStatuses(rows, as("table")).split("\n");
    expect(lines).toHaveLength(7);
    expect(lines[1]).toMatch(/^\| {4}ENDPOINT {4}\| {8}ID {8}\| VERSION \| STORAGE VERSION \| DB SIZE \|/);
    expect(lines[3]).toMatch(/^\| 127\.0\.0\.1:7400 \| 8e9e05c52164694d \| {3}0\.1\.0 \| {17}\| {3}20 kB \|/);
    expect(new Set(lines.slice(0, 6).map((line) => line.length)).size).toBe(1);
    expect([lines[0], lines[2], lines[5]].every((line) => /^\+[-+]+\+$/.test(line!))).toBe(true);
  });

  test.each([
    [9, "9 B"],
    [10, "10 B"],
    [999, "999 B"],
    [1_000, "1.0 kB"],
    [9_949, "9.9 kB"],
    [9_950, "10 kB"],
    [82_854_982, "83 MB"],
    [1_000_000_000, "1.0 GB"],
  ])("%d bytes are shown as %s", (dbSize, text) => {
    const row = { endpoint: "e", answer: { header, ...status, dbSize, dbSizeInUse: dbSize } };
    expect(formatStatuses([row], as("simple")).split(", ")[4]).toBe(text);
  });

  const hashes = [
    {
      endpoint: "127.0.0.1:7400",
      answer: {
        header,
        kind: "hashKv",
        revision: revision(7),
        hash: 4_084_213_888,
        compactRevision: -1,
        hashRevision: 7,
      },
    },
  ] as const;

  test("hashkv, in every format", () => {
    expect(formatHashes(hashes, as("simple"))).toBe("127.0.0.1:7400, 4084213888, 7\n");
    expect(formatHashes(hashes, as("json"))).toBe(
      `[{"Endpoint":"127.0.0.1:7400","HashKV":{${HEADER_JSON},"hash":4084213888,"compact_revision":-1,"hash_revision":7}}]\n`,
    );
    expect(formatHashes(hashes, as("fields"))).toBe(
      `${HEADER_FIELDS}"Endpoint" : "127.0.0.1:7400"\n"Hash" : 4084213888\n"HashRevision" : 7\n\n`,
    );
    expect(formatHashes(hashes, as("table"))).toBe(
      `+----------------+------------+---------------+
|    ENDPOINT    |    HASH    | HASH REVISION |
+----------------+------------+---------------+
| 127.0.0.1:7400 | 4084213888 |             7 |
+----------------+------------+---------------+
`,
    );
  });

  test("health, in every format", () => {
    const health = [
      { endpoint: "a:1", health: true, tookMs: 1.9 },
      { endpoint: "b:1", health: false, tookMs: 5_000.25, error: "<no> leader" },
    ];
    expect(formatHealth(health, as("json"))).toBe(
      '[{"endpoint":"a:1","health":true,"took":"1.9ms"},' +
        '{"endpoint":"b:1","health":false,"took":"5.00025s","error":"\\u003cno\\u003e leader"}]\n',
    );
    expect(formatHealth(health, as("fields"))).toBe(
      '"Endpoint" : "a:1"\n"Health" : true\n"Took" : 1.9ms\n"Error" : \n\n' +
        '"Endpoint" : "b:1"\n"Health" : false\n"Took" : 5.00025s\n"Error" : <no> leader\n\n',
    );
    expect(formatHealth(health, as("table"))).toBe(
      `+----------+--------+----------+-------------+
| ENDPOINT | HEALTH |   TOOK   |    ERROR    |
+----------+--------+----------+-------------+
|      a:1 |   true |    1.9ms |             |
|      b:1 |  false | 5.00025s | <no> leader |
+----------+--------+----------+-------------+
`,
    );
  });

  test.each([
    [0, "0s"],
    [0.0000004, "0s"],
    [0.00025, "250ns"],
    [0.5, "500µs"],
    [1_000, "1s"],
    [61_500, "1m1.5s"],
  ])("%d ms took %s", (tookMs, text) => {
    expect(formatHealth([{ endpoint: "e", health: true, tookMs }], as("fields"))).toContain(`"Took" : ${text}\n`);
  });
});

test("every format of the command line is one of these", () => {
  expect(FORMATS).toEqual(["simple", "json", "fields", "table"]);
});

describe("alarm", () => {
  const alarms: AlarmResult = {
    kind: "alarm",
    alarms: [
      { member: memberId(161n), alarm: "nospace" },
      { member: header.memberId, alarm: "corrupt" },
    ],
  };
  const none: Result = { kind: "alarm", alarms: [] };

  test("simple: one on each line, as Go prints them", () => {
    expect(shown(alarms)).toBe("memberID:161 alarm:NOSPACE \nmemberID:10276657743932975437 alarm:CORRUPT \n");
    expect(shown(none)).toBe("");
  });

  test("json: kinds as numbers", () => {
    const list = '"alarms":[{"memberID":161,"alarm":1},{"memberID":10276657743932975437,"alarm":2}]';
    expect(shown(alarms, { format: "json" })).toBe(`{${HEADER_JSON},${list}}\n`);
    expect(shown(none, { format: "json" })).toBe(`{${HEADER_JSON}}\n`);
  });

  test("fields: an empty line after each", () => {
    expect(shown({ ...alarms, alarms: alarms.alarms.slice(0, 1) }, { format: "fields" })).toBe(
      `${HEADER_FIELDS}"MemberID" : 161\n"AlarmType" : NOSPACE\n\n`,
    );
    expect(shown(alarms, { format: "fields", hex: true })).toContain('"MemberID" : a1\n');
  });

  test("table: a bad feature", () => {
    expect(() => shown(alarms, { format: "table" })).toThrow(CommandError);
  });
});

describe("lease", () => {
  const id = leaseId(0x694dn);
  const other = leaseId(-2n);
  const FLAT = HEADER_JSON.slice('"header":{'.length, -1);
  const keys = [encodeUtf8("a"), encodeUtf8("b c")];
  const left: Result = { kind: "leaseTimeToLive", id, ttl: 58, grantedTtl: 60, keys: [] };
  const gone: Result = { kind: "leaseTimeToLive", id, ttl: -1, grantedTtl: 0, keys: [] };
  const table: readonly (readonly [string, Result, Partial<ResponseOptions>, string, string, string])[] = [
    [
      "grant",
      { kind: "leaseGrant", revision: revision(7), id, ttl: 60 },
      {},
      "lease 000000000000694d granted with TTL(60s)\n",
      `{${FLAT},"ID":26957,"TTL":60,"Error":""}\n`,
      `"ID" : 26957\n"TTL" : 60\n`,
    ],
    [
      "revoke",
      { kind: "leaseRevoke", revision: revision(7) },
      { lease: other },
      "lease fffffffffffffffe revoked\n",
      `{${HEADER_JSON}}\n`,
      "",
    ],
    [
      "keep-alive",
      { kind: "leaseKeepAlive", id, ttl: 60 },
      {},
      "lease 000000000000694d keepalived with TTL(60)\n",
      `{${FLAT},"ID":26957,"TTL":60}\n`,
      `"ID" : 26957\n"TTL" : 60\n`,
    ],
    [
      "timetolive",
      left,
      {},
      "lease 000000000000694d granted with TTL(60s), remaining(58s)\n",
      `{${FLAT},"id":26957,"ttl":58,"granted-ttl":60,"keys":null}\n`,
      `"ID" : 26957\n"TTL" : 58\n"GrantedTTL" : 60\n`,
    ],
    [
      "timetolive with keys",
      { ...left, keys },
      { keys: true },
      "lease 000000000000694d granted with TTL(60s), remaining(58s), attached keys([a b c])\n",
      `{${FLAT},"id":26957,"ttl":58,"granted-ttl":60,"keys":["YQ==","YiBj"]}\n`,
      `"ID" : 26957\n"TTL" : 58\n"GrantedTTL" : 60\n"Key" : "a"\n"Key" : "b c"\n`,
    ],
    [
      "timetolive of one that has ended",
      gone,
      {},
      "lease 000000000000694d already expired\n",
      `{${FLAT},"id":26957,"ttl":-1,"granted-ttl":0,"keys":null}\n`,
      `"ID" : 26957\n"TTL" : -1\n"GrantedTTL" : 0\n`,
    ],
    [
      "list",
      { kind: "leaseList", leases: [other, id] },
      {},
      "found 2 leases\nfffffffffffffffe\n000000000000694d\n",
      `{${FLAT},"leases":[{"id":-2},{"id":26957}]}\n`,
      `"ID" : -2\n"ID" : 26957\n`,
    ],
  ];
  test.each(table)("%s", (_name, result, options, simple, json, fields) => {
    expect(shown(result, options)).toBe(simple);
    expect(shown(result, { ...options, format: "json" })).toBe(json);
    expect(shown(result, { ...options, format: "fields" })).toBe(HEADER_FIELDS + fields);
    expect(() => shown(result, { ...options, format: "table" })).toThrow(CommandError);
  });

  test("hex in fields", () => {
    expect(shown({ kind: "leaseList", leases: [id] }, { format: "fields", hex: true })).toContain(
      '"ID" : 000000000000694d\n',
    );
  });
});
