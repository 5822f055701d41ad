/**
 * Answers as text, in etcdctl's shapes (etcd-semantics sections 14.2 and 14.3): simple, json, fields and table. Scripts
 * read this output, so the tests hold it to the byte.
 */
import Table from "cli-table3";
import { formatId, type LeaseId, type MemberId } from "../base/ids.ts";
import type { HashAnswer, StatusAnswer } from "../client/client.ts";
import type { WatchBatch, WatchEvent } from "../client/watch.ts";
import type { KeyValue, Member, ResponseHeader } from "../protocol/key-value.ts";
import type {
  AlarmResult,
  LeaseGrantResult,
  LeaseKeepAliveResult,
  LeaseListResult,
  LeaseRevokeResult,
  LeaseTimeToLiveResult,
  MembersResult,
  OpResult,
  Response,
} from "../protocol/responses.ts";
import type { SnapshotSummary } from "../storage/snapshot-file.ts";
import { fail } from "./exit.ts";
import type { Format } from "./globals.ts";
import { quote, quoteText } from "./go-quote.ts";

export interface OutputOptions {
  readonly format: Format;
  readonly hex: boolean;
}

export interface ResponseOptions extends OutputOptions {
  readonly valueOnly?: boolean;
  /** Of a compaction. */
  readonly revision?: number;
  /** Of a `member` command: what was asked, of whom. */
  readonly verb?: "list" | "add" | "remove" | "promote" | "update";
  readonly name?: string;
  readonly id?: MemberId;
  /** Of `lease revoke`: which. */
  readonly lease?: LeaseId;
  /** Of `lease timetolive`: its keys were asked for. */
  readonly keys?: boolean;
}

export interface EndpointAnswer<T> {
  readonly endpoint: string;
  readonly answer: T;
}

export interface EndpointHealth {
  readonly endpoint: string;
  readonly health: boolean;
  readonly tookMs: number;
  readonly error?: string;
}

/** Bytes, not text: simple output prints keys and values as they are, whatever they hold. */
export function formatResponse(response: Response, options: ResponseOptions): Uint8Array {
  const { header, result } = response;
  switch (result.kind) {
    case "range":
    case "put":
    case "deleteRange":
    case "txn":
      return formatOperation(header, result, options);
    case "compact":
      return Buffer.from(`compacted revision ${options.revision}\n`);
    case "leaseGrant":
    case "leaseRevoke":
    case "leaseKeepAlive":
    case "leaseTimeToLive":
    case "leaseList":
      return Buffer.from(formatLease(header, result, options));
    case "alarm":
      return Buffer.from(formatAlarms(header, result, options));
    case "members":
      return Buffer.from(formatMembers(header, result, options));
    default:
      return fail("badFeature", `${options.format} not supported as output format`);
  }
}

/** One batch of a watch. What is progress alone has no text in the plain form. */
export function formatWatch({ header, events }: WatchBatch, options: OutputOptions): Uint8Array {
  switch (options.format) {
    case "simple": {
      const lines = new Lines(options);
      for (const event of events) lines.event(event);
      return lines.bytes();
    }
    case "json": {
      // Go's names, and nothing left out (etcd-semantics 14.3).
      const answer = {
        Header: headerJson(header, false),
        Events: events.map(({ type, kv, prevKv }) => ({
          type: type === "delete" ? 1 : undefined,
          kv: keyValueJson(kv),
          prev_kv: prevKv === undefined ? undefined : keyValueJson(prevKv),
        })),
        ...{ CompactRevision: 0, Canceled: false, Created: false, CancelReason: "" },
      };
      return Buffer.from(`${json(answer)}\n`);
    }
    case "fields": {
      const fields = events.map(({ type, kv, prevKv }) => {
        const previous = prevKv === undefined ? "" : keyValueFields("Prev", prevKv, options.hex);
        return `"Type" : ${type === "put" ? "PUT" : "DELETE"}\n${previous}${keyValueFields("", kv, options.hex)}`;
      });
      return Buffer.from(`${headerFields(header, options.hex)}${fields.join("")}`);
    }
    case "table":
      return fail("badFeature", "table not supported as output format");
  }
}

// --- operations ---

function formatOperation(header: ResponseHeader, result: OpResult, options: ResponseOptions): Uint8Array {
  switch (options.format) {
    case "simple": {
      const lines = new Lines(options);
      lines.result(result);
      return lines.bytes();
    }
    case "json":
      return Buffer.from(`${json(operationJson(headerJson(header, false), result))}\n`);
    case "fields":
      return Buffer.from(operationFields(headerFields(header, options.hex), result, options.hex));
    case "table":
      return fail("badFeature", "table not supported as output format");
  }
}

/** Simple output, line by line. */
class Lines {
  readonly #parts: Uint8Array[] = [];
  readonly #options: ResponseOptions;

  constructor(options: ResponseOptions) {
    this.#options = options;
  }

  bytes(): Uint8Array {
    return Buffer.concat(this.#parts);
  }

  result(result: OpResult): void {
    switch (result.kind) {
      case "range":
        for (const kv of result.kvs) this.#keyValue(kv);
        return;
      case "put":
        this.#line("OK");
        if (result.prevKv !== undefined) this.#keyValue(result.prevKv);
        return;
      case "deleteRange":
        this.#line(String(result.deleted));
        for (const kv of result.prevKvs) this.#keyValue(kv);
        return;
      case "txn":
        this.#line(result.succeeded ? "SUCCESS" : "FAILURE");
        for (const each of result.results) {
          this.#line("");
          this.result(each);
        }
    }
  }

  event({ type, kv, prevKv }: WatchEvent): void {
    this.#line(type === "put" ? "PUT" : "DELETE");
    if (prevKv !== undefined) this.#keyValue(prevKv);
    this.#keyValue(kv);
  }

  #keyValue(kv: KeyValue): void {
    if (this.#options.valueOnly !== true) this.#line(kv.key);
    this.#line(kv.value);
  }

  #line(text: string | Uint8Array): void {
    const { hex } = this.#options;
    this.#parts.push(typeof text === "string" ? Buffer.from(text) : hex ? Buffer.from(escapedHex(text)) : text);
    this.#parts.push(NEWLINE);
  }
}

const NEWLINE = Buffer.from("\n");

/** `\x61\x62`. */
function escapedHex(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += `\\x${byte.toString(16).padStart(2, "0")}`;
  return text;
}

// --- json ---

/** A Go structure: what is zero or empty is left out, but for what is wrapped in `always`. */
type Json = bigint | number | string | boolean | null | readonly Json[] | { readonly [name: string]: Json | undefined };

/** Go's encoder, for numbers of 64 bits and without what a browser could mistake for markup. */
function json(value: Json): string {
  if (value === null) return "null";
  if (typeof value === "bigint" || typeof value === "number" || typeof value === "boolean") return String(value);
  if (typeof value === "string") {
    return JSON.stringify(value).replace(
      /[<>&\u2028\u2029]/g,
      (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
    );
  }
  if (isList(value)) return `[${value.map(json).join(",")}]`;
  const fields = Object.entries(value).flatMap(([name, each]) =>
    each === undefined ? [] : [`${json(name)}:${json(each)}`],
  );
  return `{${fields.join(",")}}`;
}

function isList(value: object): value is readonly Json[] {
  return Array.isArray(value);
}

/** `undefined`, and so left out, for what Go omits as empty. */
function some<T extends Json>(value: T): T | undefined {
  const isEmpty =
    value === 0 ||
    value === 0n ||
    value === "" ||
    value === false ||
    (typeof value === "object" && value !== null && isList(value) && value.length === 0);
  return isEmpty ? undefined : value;
}

function base64(bytes: Uint8Array): string | undefined {
  return some(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("base64"));
}

function headerJson(header: ResponseHeader, hexIds: boolean): Json {
  return {
    cluster_id: hexIds ? formatId(header.clusterId) : some(BigInt(header.clusterId)),
    member_id: hexIds ? formatId(header.memberId) : some(BigInt(header.memberId)),
    revision: some(Number(header.revision)),
    raft_term: some(Number(header.raftTerm)),
  };
}

function keyValueJson(kv: KeyValue): Json {
  return {
    key: base64(kv.key),
    create_revision: some(Number(kv.createRevision)),
    mod_revision: some(Number(kv.modRevision)),
    version: some(kv.version),
    value: base64(kv.value),
    lease: some(BigInt(kv.lease)),
  };
}

function operationJson(header: Json, result: OpResult): Json {
  switch (result.kind) {
    case "range":
      return { header, kvs: some(result.kvs.map(keyValueJson)), more: some(result.more), count: some(result.count) };
    case "put":
      return { header, prev_kv: result.prevKv === undefined ? undefined : keyValueJson(result.prevKv) };
    case "deleteRange":
      return { header, deleted: some(result.deleted), prev_kvs: some(result.prevKvs.map(keyValueJson)) };
    case "txn":
      return { header, succeeded: some(result.succeeded), responses: some(result.results.map(nestedJson)) };
  }
}

const NESTED = {
  range: "response_range",
  put: "response_put",
  deleteRange: "response_delete_range",
  txn: "response_txn",
} as const satisfies Record<OpResult["kind"], string>;

/** In a txn only the revision is set in a header; that of a txn within a txn is all zero (section 1.4). */
function nestedJson(result: OpResult): Json {
  const header: Json = result.kind === "txn" ? {} : { revision: some(Number(result.revision)) };
  return { Response: { [NESTED[result.kind]]: operationJson(header, result) } };
}

// --- fields ---

function headerFields(header: ResponseHeader, hex: boolean): string {
  const clusterId = hex ? formatId(header.clusterId) : header.clusterId;
  const memberId = hex ? formatId(header.memberId) : header.memberId;
  return fieldsOfHeader(clusterId, memberId, header.revision, header.raftTerm);
}

/** The revision is left out where it has no meaning. */
function fieldsOfHeader(clusterId: bigint | string, memberId: bigint | string, revision: number, term: number): string {
  return (
    `"ClusterID" : ${clusterId}\n"MemberID" : ${memberId}\n` +
    `${revision > 0 ? `"Revision" : ${revision}\n` : ""}"RaftTerm" : ${term}\n`
  );
}

function keyValueFields(prefix: "" | "Prev", kv: KeyValue, hex: boolean): string {
  const lease = hex ? formatId(kv.lease).padStart(16, "0") : kv.lease;
  return (
    `"${prefix}Key" : ${quote(kv.key)}\n` +
    `"${prefix}CreateRevision" : ${kv.createRevision}\n` +
    `"${prefix}ModRevision" : ${kv.modRevision}\n` +
    `"${prefix}Version" : ${kv.version}\n` +
    `"${prefix}Value" : ${quote(kv.value)}\n` +
    `"${prefix}Lease" : ${lease}\n`
  );
}

function operationFields(header: string, result: OpResult, hex: boolean): string {
  const fields = (prefix: "" | "Prev", kvs: readonly KeyValue[]): string =>
    kvs.map((kv) => keyValueFields(prefix, kv, hex)).join("");
  switch (result.kind) {
    case "range":
      return `${header}${fields("", result.kvs)}"More" : ${result.more}\n"Count" : ${result.count}\n`;
    case "put":
      return `${header}${result.prevKv === undefined ? "" : fields("Prev", [result.prevKv])}`;
    case "deleteRange":
      return `${header}"Deleted" : ${result.deleted}\n${fields("Prev", result.prevKvs)}`;
    case "txn": {
      const nested = result.results.map((each) => {
        const revision = each.kind === "txn" ? 0 : each.revision;
        const none = hex ? "0" : 0n;
        return operationFields(fieldsOfHeader(none, none, revision, 0), each, hex);
      });
      return `${header}"Succeeded" : ${result.succeeded}\n${nested.join("")}`;
    }
  }
}

// --- alarms ---

/** etcd's numbers. */
const ALARM_NUMBERS = { nospace: 1, corrupt: 2 } as const;

function formatAlarms(header: ResponseHeader, { alarms }: AlarmResult, options: OutputOptions): string {
  switch (options.format) {
    case "simple":
      return alarms.map(({ member, alarm }) => `memberID:${member} alarm:${alarm.toUpperCase()} \n`).join("");
    case "json": {
      const list = alarms.map(({ member, alarm }) => ({ memberID: BigInt(member), alarm: ALARM_NUMBERS[alarm] }));
      return `${json({ header: headerJson(header, false), alarms: some(list) })}\n`;
    }
    case "fields": {
      const id = (member: MemberId): string => (options.hex ? formatId(member) : String(member));
      const lines = alarms.map(
        ({ member, alarm }) => `"MemberID" : ${id(member)}\n"AlarmType" : ${alarm.toUpperCase()}\n\n`,
      );
      return `${headerFields(header, options.hex)}${lines.join("")}`;
    }
    case "table":
      return fail("badFeature", "table not supported as output format");
  }
}

// --- leases ---

type LeaseResult =
  | LeaseGrantResult
  | LeaseRevokeResult
  | LeaseKeepAliveResult
  | LeaseTimeToLiveResult
  | LeaseListResult;

function formatLease(header: ResponseHeader, result: LeaseResult, options: ResponseOptions): string {
  switch (options.format) {
    case "simple":
      return simpleLease(result, options);
    case "json":
      return `${json(leaseJson(header, result))}\n`;
    case "fields":
      return `${headerFields(header, options.hex)}${leaseFields(result, options.hex)}`;
    case "table":
      return fail("badFeature", "table not supported as output format");
  }
}

const leaseText = (id: LeaseId): string => formatId(id).padStart(16, "0");

function simpleLease(result: LeaseResult, options: ResponseOptions): string {
  switch (result.kind) {
    case "leaseGrant":
      return `lease ${leaseText(result.id)} granted with TTL(${result.ttl}s)\n`;
    case "leaseRevoke":
      return `lease ${leaseText(options.lease!)} revoked\n`;
    case "leaseKeepAlive":
      return `lease ${leaseText(result.id)} keepalived with TTL(${result.ttl})\n`;
    case "leaseTimeToLive": {
      const { ttl, grantedTtl, keys } = result;
      if (grantedTtl === 0) return `lease ${leaseText(result.id)} already expired\n`;
      const attached = options.keys === true ? `, attached keys([${keys.map(plainText).join(" ")}])` : "";
      return `lease ${leaseText(result.id)} granted with TTL(${grantedTtl}s), remaining(${ttl}s)${attached}\n`;
    }
    case "leaseList":
      return `found ${result.leases.length} leases\n${result.leases.map((id) => `${leaseText(id)}\n`).join("")}`;
  }
}

const plainText = (bytes: Uint8Array): string => Buffer.from(bytes).toString("utf8");

/** Go embeds the header here, so its fields stand beside the lease's; ids are signed. */
function leaseJson(header: ResponseHeader, result: LeaseResult): Json {
  switch (result.kind) {
    case "leaseRevoke":
      return { header: headerJson(header, false) };
    case "leaseGrant":
      return { ...flatHeader(header), ID: BigInt(result.id), TTL: result.ttl, Error: "" };
    case "leaseKeepAlive":
      return { ...flatHeader(header), ID: BigInt(result.id), TTL: result.ttl };
    case "leaseTimeToLive":
      return {
        ...flatHeader(header),
        id: BigInt(result.id),
        ttl: result.ttl,
        "granted-ttl": result.grantedTtl,
        // An absent list in Go.
        keys: result.keys.length === 0 ? null : result.keys.map((key) => Buffer.from(key).toString("base64")),
      };
    case "leaseList":
      return { ...flatHeader(header), leases: result.leases.map((id) => ({ id: BigInt(id) })) };
  }
}

function flatHeader(header: ResponseHeader): { readonly [name: string]: Json | undefined } {
  return {
    cluster_id: some(BigInt(header.clusterId)),
    member_id: some(BigInt(header.memberId)),
    revision: some(Number(header.revision)),
    raft_term: some(Number(header.raftTerm)),
  };
}

function leaseFields(result: LeaseResult, hex: boolean): string {
  const id = (lease: LeaseId): string => (hex ? leaseText(lease) : String(lease));
  switch (result.kind) {
    case "leaseRevoke":
      return "";
    case "leaseGrant":
    case "leaseKeepAlive":
      return `"ID" : ${id(result.id)}\n"TTL" : ${result.ttl}\n`;
    case "leaseTimeToLive":
      return (
        `"ID" : ${id(result.id)}\n"TTL" : ${result.ttl}\n"GrantedTTL" : ${result.grantedTtl}\n` +
        result.keys.map((key) => `"Key" : ${quote(key)}\n`).join("")
      );
    case "leaseList":
      return result.leases.map((lease) => `"ID" : ${id(lease)}\n`).join("");
  }
}

// --- members ---

const MEMBER_HEAD = ["ID", "Status", "Name", "Peer Addrs", "Client Addrs", "Is Learner"];

function memberRow(member: Member): readonly string[] {
  return [
    formatId(member.id),
    member.name === "" ? "unstarted" : "started",
    member.name,
    member.peerUrls.join(","),
    member.clientUrls.join(","),
    String(member.isLearner),
  ];
}

function formatMembers(header: ResponseHeader, result: MembersResult, options: ResponseOptions): string {
  switch (options.format) {
    case "json":
      return `${json({
        header: headerJson(header, options.hex),
        member: result.member === undefined ? undefined : memberJson(result.member, options.hex),
        members: some(result.members.map((member) => memberJson(member, options.hex))),
      })}\n`;
    case "simple":
      return simpleMembers(header, result, options);
    case "fields":
      if (options.verb !== "list") return fail("badFeature", "fields not supported as output format");
      return `${headerFields(header, options.hex)}${result.members.map((member) => memberFields(member, options.hex)).join("")}`;
    case "table":
      if (options.verb !== "list") return fail("badFeature", "table not supported as output format");
      return table(MEMBER_HEAD, result.members.map(memberRow));
  }
}

function memberJson(member: Member, hexIds: boolean): Json {
  return {
    ID: hexIds ? formatId(member.id) : BigInt(member.id),
    name: some(member.name),
    peerURLs: some(member.peerUrls),
    clientURLs: some(member.clientUrls),
    isLearner: some(member.isLearner),
  };
}

function memberFields(member: Member, hex: boolean): string {
  return (
    `"ID" : ${hex ? formatId(member.id) : member.id}\n"Name" : ${quoteText(member.name)}\n` +
    member.peerUrls.map((url) => `"PeerURL" : ${quoteText(url)}\n`).join("") +
    member.clientUrls.map((url) => `"ClientURL" : ${quoteText(url)}\n`).join("") +
    `"IsLearner" : ${member.isLearner}\n\n`
  );
}

function simpleMembers(header: ResponseHeader, result: MembersResult, options: ResponseOptions): string {
  const wide = (id: bigint): string => formatId(id).padStart(16, " ");
  const cluster = wide(header.clusterId);
  switch (options.verb) {
    case "add":
      return result.member === undefined ? "" : addedMember(result.member, result.members, cluster, options.name ?? "");
    case "remove":
      return `Member ${wide(options.id ?? 0n)} removed from cluster ${cluster}\n`;
    case "update":
      return `Member ${wide(options.id ?? 0n)} updated in cluster ${cluster}\n`;
    case "promote":
      return `Member ${wide(options.id ?? 0n)} promoted in cluster ${cluster}\n`;
    default:
      return result.members.map((member) => `${memberRow(member).join(", ")}\n`).join("");
  }
}

/** With what the new member is to be started with. */
function addedMember(added: Member, members: readonly Member[], cluster: string, name: string): string {
  const initial = members.flatMap((member) =>
    member.peerUrls.map((url) => `${member.id === added.id ? name : member.name}=${url}`),
  );
  return (
    `Member ${formatId(added.id).padStart(16, " ")} added${added.isLearner ? " as learner " : " "}to cluster ${cluster}\n\n` +
    `ETCD_NAME=${quoteText(name)}\n` +
    `ETCD_INITIAL_CLUSTER=${quoteText(initial.join(","))}\n` +
    `ETCD_INITIAL_ADVERTISE_PEER_URLS=${quoteText(added.peerUrls.join(","))}\n` +
    `ETCD_INITIAL_CLUSTER_STATE="existing"\n`
  );
}

// --- endpoints ---

const STATUS_HEAD = [
  ...["endpoint", "ID", "version", "storage version", "db size", "in use", "percentage not in use", "quota"],
  ...["is leader", "is learner", "raft term", "raft index", "raft applied index", "errors"],
  ...["downgrade target version", "downgrade enabled"],
];

function statusRow({ endpoint, answer }: EndpointAnswer<StatusAnswer>): readonly string[] {
  return [
    endpoint,
    formatId(answer.header.memberId),
    answer.version,
    "", // no storage version beside the version
    humanBytes(answer.dbSize),
    humanBytes(answer.dbSizeInUse),
    `${100 - Math.floor((answer.dbSizeInUse * 100) / Math.max(1, answer.dbSize))}%`,
    humanBytes(answer.dbSizeQuota),
    String(answer.leader === answer.header.memberId),
    String(answer.isLearner),
    String(answer.raftTerm),
    String(answer.raftIndex),
    String(answer.raftAppliedIndex),
    answer.errors.join(", "),
    "",
    "false",
  ];
}

export function formatStatuses(rows: readonly EndpointAnswer<StatusAnswer>[], options: OutputOptions): string {
  switch (options.format) {
    case "simple":
      return rows.map((row) => `${statusRow(row).join(", ")}\n`).join("");
    case "table":
      return table(STATUS_HEAD, rows.map(statusRow));
    case "json":
      return `${json(rows.map(({ endpoint, answer }) => ({ Endpoint: endpoint, Status: statusJson(answer) })))}\n`;
    case "fields":
      return rows.map((row) => statusFields(row, options.hex)).join("");
  }
}

function statusJson(answer: StatusAnswer): Json {
  return {
    header: headerJson(answer.header, false),
    version: some(answer.version),
    dbSize: some(answer.dbSize),
    leader: answer.leader === undefined ? undefined : BigInt(answer.leader),
    raftIndex: some(answer.raftIndex),
    raftTerm: some(answer.raftTerm),
    raftAppliedIndex: some(answer.raftAppliedIndex),
    errors: some(answer.errors),
    dbSizeInUse: some(answer.dbSizeInUse),
    isLearner: some(answer.isLearner),
    dbSizeQuota: some(answer.dbSizeQuota),
    downgradeInfo: {},
  };
}

function statusFields({ endpoint, answer }: EndpointAnswer<StatusAnswer>, hex: boolean): string {
  return (
    headerFields(answer.header, hex) +
    `"Version" : ${quoteText(answer.version)}\n"StorageVersion" : ""\n` +
    `"DBSize" : ${answer.dbSize}\n"DBSizeInUse" : ${answer.dbSizeInUse}\n"DBSizeQuota" : ${answer.dbSizeQuota}\n` +
    `"Leader" : ${hex ? formatId(answer.leader ?? 0n) : (answer.leader ?? 0n)}\n"IsLearner" : ${answer.isLearner}\n` +
    `"RaftIndex" : ${answer.raftIndex}\n"RaftTerm" : ${answer.raftTerm}\n` +
    `"RaftAppliedIndex" : ${answer.raftAppliedIndex}\n"Errors" : [${answer.errors.join(" ")}]\n` +
    `"Endpoint" : ${quoteText(endpoint)}\n"DowngradeTargetVersion" : ""\n"DowngradeEnabled" : false\n\n`
  );
}

export function formatHashes(rows: readonly EndpointAnswer<HashAnswer>[], options: OutputOptions): string {
  const cells = rows.map(({ endpoint, answer }) => [endpoint, String(answer.hash), String(answer.hashRevision)]);
  switch (options.format) {
    case "simple":
      return cells.map((row) => `${row.join(", ")}\n`).join("");
    case "table":
      return table(["endpoint", "hash", "hash_revision"], cells);
    case "json":
      return `${json(
        rows.map(({ endpoint, answer }) => ({
          Endpoint: endpoint,
          HashKV: {
            header: headerJson(answer.header, false),
            hash: some(answer.hash),
            compact_revision: some(answer.compactRevision),
            hash_revision: some(answer.hashRevision),
          },
        })),
      )}\n`;
    case "fields":
      return rows
        .map(
          ({ endpoint, answer }) =>
            `${headerFields(answer.header, options.hex)}"Endpoint" : ${quoteText(endpoint)}\n` +
            `"Hash" : ${answer.hash}\n"HashRevision" : ${answer.hashRevision}\n\n`,
        )
        .join("");
  }
}

export function formatHealth(rows: readonly EndpointHealth[], options: OutputOptions): string {
  const cells = rows.map((row) => [row.endpoint, String(row.health), goDuration(row.tookMs), row.error ?? ""]);
  switch (options.format) {
    case "simple":
      return cells.map((row) => `${row.join(", ")}\n`).join("");
    case "table":
      return table(["endpoint", "health", "took", "error"], cells);
    case "json":
      return `${json(
        rows.map((row) => ({
          endpoint: row.endpoint,
          health: row.health,
          took: goDuration(row.tookMs),
          error: some(row.error ?? ""),
        })),
      )}\n`;
    case "fields":
      return rows
        .map(
          (row) =>
            `"Endpoint" : ${quoteText(row.endpoint)}\n"Health" : ${row.health}\n` +
            `"Took" : ${goDuration(row.tookMs)}\n"Error" : ${row.error ?? ""}\n\n`,
        )
        .join("");
  }
}

/** etcdutl's columns. */
export function formatSnapshot(summary: SnapshotSummary, options: OutputOptions): string {
  const { hash, revision, records, bytes, serverVersion } = summary;
  const row = [hash.toString(16), String(revision), String(records), humanBytes(bytes), serverVersion];
  switch (options.format) {
    case "simple":
      return `${row.join(", ")}\n`;
    case "table":
      return table(["hash", "revision", "total keys", "total size", "version"], [row]);
    case "json":
      return `${json({ hash, revision, totalKey: records, totalSize: bytes, version: serverVersion })}\n`;
    case "fields":
      return (
        `"Hash" : ${hash}\n"Revision" : ${revision}\n"Keys" : ${records}\n` +
        `"Size" : ${bytes}\n"Version" : ${serverVersion}\n`
      );
  }
}

/** As Go prints a duration: `1.9ms`, `350.2µs`, `2.5s`. */
function goDuration(ms: number): string {
  const nanoseconds = Math.round(ms * 1e6);
  if (nanoseconds === 0) return "0s";
  if (nanoseconds < 1_000) return `${nanoseconds}ns`;
  if (nanoseconds < 1_000_000) return `${nanoseconds / 1_000}µs`;
  if (nanoseconds < 1_000_000_000) return `${nanoseconds / 1_000_000}ms`;
  const minutes = Math.floor(nanoseconds / 60_000_000_000);
  const seconds = (nanoseconds - minutes * 60_000_000_000) / 1_000_000_000;
  return minutes === 0 ? `${seconds}s` : `${minutes}m${seconds}s`;
}

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

/** `20 kB`: powers of 1,000, one decimal below ten. */
export function humanBytes(bytes: number): string {
  if (bytes < 10) return `${bytes} B`;
  const power = Math.min(Math.floor((String(bytes).length - 1) / 3), UNITS.length - 1);
  const value = Math.floor((bytes / 1_000 ** power) * 10 + 0.5) / 10;
  return `${value < 10 ? value.toFixed(1) : halfToEven(value)} ${UNITS[power]}`;
}

/** Go rounds a half to the even number: 20.5 is shown as 20. */
function halfToEven(value: number): number {
  const floor = Math.floor(value);
  return value - floor === 0.5 ? floor + (floor % 2) : Math.round(value);
}

/** Plain characters, headings in capitals and centred, cells to the right. */
function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = { mid: "-", left: "+", right: "+", cross: "+" };
  const built = new Table({
    head: head.map((name) => name.replace(/[_.]/g, " ").toUpperCase()),
    chars: {
      top: line.mid,
      "top-mid": line.cross,
      "top-left": line.left,
      "top-right": line.right,
      bottom: line.mid,
      "bottom-mid": line.cross,
      "bottom-left": line.left,
      "bottom-right": line.right,
      left: "|",
      "left-mid": line.left,
      mid: line.mid,
      "mid-mid": line.cross,
      right: "|",
      "right-mid": line.right,
      middle: "|",
    },
    style: { head: [], border: [], compact: true },
    colAligns: head.map(() => "center"),
  });
  for (const row of rows) built.push(row.map((content) => ({ content, hAlign: "right" })));
  return `${built.toString()}\n`;
}
