/** quorate's public API. */
export { type ErrorCode, type ErrorDetails, type Outcome, type Status, StoreError } from "./base/errors.ts";
export type { ClusterId, LeaseId, LogIndex, MemberId, Revision, Term } from "./base/ids.ts";
export { formatId, leaseId, memberId, parseId, revision } from "./base/ids.ts";
export type { Alarms, AlarmsAnswer } from "./client/alarms.ts";
export type { Client, HashAnswer, RequestOptions, StatusAnswer } from "./client/client.ts";
export type {
  DeleteOptions,
  DeleteResult,
  GetOptions,
  GetResult,
  PutOptions,
  PutOutcome,
  RangeSelection,
  StoredKeyValue,
} from "./client/kv.ts";
export type {
  KeepAlive,
  KeepAliveAnswer,
  KeepAliveOptions,
  LeaseAnswer,
  LeaseListAnswer,
  Leases,
  TimeToLiveAnswer,
} from "./client/lease.ts";
export type { MemberAddAnswer, Members, MembersAnswer } from "./client/members.ts";
export type { ClientView, Namespace } from "./client/namespace.ts";
export type {
  CampaignAnswer,
  Elections,
  LeaderAnswer as ElectionLeaderAnswer,
  LockAnswer,
  Locks,
  TurnOptions,
} from "./client/queues.ts";
export type { SnapshotInfo, SnapshotOptions, SnapshotStream } from "./client/snapshot.ts";
export { type CompareOperator, compare, type Op, op, type Txn, type TxnOutcome } from "./client/txn.ts";
export type { Watch, WatchBatch, WatchEvent, WatchOptions } from "./client/watch.ts";
export type { WaitOptions } from "./concurrency/bounds.ts";
export {
  type ConfigUpdate,
  type ConfigValidator,
  ConfigWatcher,
  type ConfigWatcherOptions,
} from "./concurrency/config-watcher.ts";
export { Election, type LeaderAnswer, observeElection } from "./concurrency/election.ts";
export { type InitializeOptions, type Initializing, initializeOnce } from "./concurrency/initialize-once.ts";
export { Mutex } from "./concurrency/mutex.ts";
export { Session, type SessionOptions } from "./concurrency/session.ts";
export type { StandardIssue, StandardResult, StandardSchemaV1 } from "./concurrency/standard-schema.ts";
export { type Isolation, type Stm, type StmOptions, type StmResult, stm } from "./concurrency/stm.ts";
export { type ConnectOptions, connect } from "./node/connect.ts";
export { Node, type NodeOptions } from "./node/node.ts";
export {
  type RestoredMember,
  type RestoreSnapshotOptions,
  restoreSnapshot,
  type SaveOptions,
  type SnapshotSummary,
  saveSnapshot,
  snapshotStatus,
} from "./node/snapshot.ts";
export type { Logger } from "./platform/log.ts";
export type { KeyValue, Member, ResponseHeader } from "./protocol/key-value.ts";
export type { AlarmType, LeaderKey } from "./protocol/requests.ts";
export type { Alarm } from "./protocol/responses.ts";
