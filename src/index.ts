/** quorate's public API. */
export { type ErrorCode, type ErrorDetails, type Outcome, type Status, StoreError } from "./base/errors.ts";
export type { ClusterId, LeaseId, LogIndex, MemberId, Revision, Term } from "./base/ids.ts";
export { formatId, leaseId, memberId, parseId, revision } from "./base/ids.ts";
export type { KeyValue, Member, ResponseHeader } from "./protocol/key-value.ts";
export type { Logger } from "./platform/log.ts";
export { type ConnectOptions, connect } from "./node/connect.ts";
export { Node, type NodeOptions } from "./node/node.ts";
