/** Every failure a caller can meet, in one table: its code, etcd's status and text, and what its details hold. */

/** "rejected": it certainly did not happen. "applied": it did. "unknown": only a read can tell. */
export type Outcome = "rejected" | "unknown" | "applied";

/** gRPC status names, as etcd answers them (etcd-semantics section 10). */
export type Status =
  | "CANCELLED"
  | "UNKNOWN"
  | "INVALID_ARGUMENT"
  | "DEADLINE_EXCEEDED"
  | "NOT_FOUND"
  | "RESOURCE_EXHAUSTED"
  | "FAILED_PRECONDITION"
  | "OUT_OF_RANGE"
  | "UNAVAILABLE"
  | "DATA_LOSS"
  | "UNAUTHENTICATED"
  | "INTERNAL";

interface Failure {
  readonly status: Status;
  /** The text a caller sees unless the place that raises it knows more. etcd's own where etcd has the error. */
  readonly message: string;
}

/** A new failure starts here, then in docs/errors.md (a test holds the two together). The order is the wire's: append only. */
export const FAILURES = {
  EMPTY_KEY: { status: "INVALID_ARGUMENT", message: "etcdserver: key is not provided" },
  KEY_NOT_FOUND: { status: "INVALID_ARGUMENT", message: "etcdserver: key not found" },
  VALUE_PROVIDED: { status: "INVALID_ARGUMENT", message: "etcdserver: value is provided" },
  LEASE_PROVIDED: { status: "INVALID_ARGUMENT", message: "etcdserver: lease is provided" },
  TOO_MANY_OPS: { status: "INVALID_ARGUMENT", message: "etcdserver: too many operations in txn request" },
  DUPLICATE_KEY: { status: "INVALID_ARGUMENT", message: "etcdserver: duplicate key given in txn request" },
  INVALID_SORT_OPTION: { status: "INVALID_ARGUMENT", message: "etcdserver: invalid sort option" },
  MEMBER_BAD_URLS: { status: "INVALID_ARGUMENT", message: "etcdserver: given member URLs are invalid" },
  REQUEST_TOO_LARGE: { status: "INVALID_ARGUMENT", message: "etcdserver: request is too large" },
  COMPACTED: { status: "OUT_OF_RANGE", message: "etcdserver: mvcc: required revision has been compacted" },
  FUTURE_REVISION: { status: "OUT_OF_RANGE", message: "etcdserver: mvcc: required revision is a future revision" },
  NO_SPACE: { status: "RESOURCE_EXHAUSTED", message: "etcdserver: mvcc: database space exceeded" },
  TOO_MANY_REQUESTS: { status: "RESOURCE_EXHAUSTED", message: "etcdserver: too many requests" },
  LEASE_NOT_FOUND: { status: "NOT_FOUND", message: "etcdserver: requested lease not found" },
  MEMBER_NOT_FOUND: { status: "NOT_FOUND", message: "etcdserver: member not found" },
  MEMBER_EXISTS: { status: "FAILED_PRECONDITION", message: "etcdserver: member ID already exist" },
  PEER_URL_EXISTS: { status: "FAILED_PRECONDITION", message: "etcdserver: Peer URLs already exists" },
  MEMBER_NOT_ENOUGH_STARTED: {
    status: "FAILED_PRECONDITION",
    message: "etcdserver: re-configuration failed due to not enough started members",
  },
  MEMBER_NOT_LEARNER: { status: "FAILED_PRECONDITION", message: "etcdserver: can only promote a learner member" },
  MEMBER_LEARNER_NOT_READY: {
    status: "FAILED_PRECONDITION",
    message: "etcdserver: can only promote a learner member which is in sync with leader",
  },
  TOO_MANY_LEARNERS: {
    status: "FAILED_PRECONDITION",
    message: "etcdserver: too many learner members in cluster",
  },
  NOT_LEADER: { status: "FAILED_PRECONDITION", message: "etcdserver: not leader" },
  NOT_SUPPORTED_FOR_LEARNER: {
    status: "FAILED_PRECONDITION",
    message: "etcdserver: rpc not supported for learner",
  },
  BAD_LEADER_TRANSFEREE: { status: "FAILED_PRECONDITION", message: "etcdserver: bad leader transferee" },
  UNHEALTHY: { status: "UNAVAILABLE", message: "etcdserver: unhealthy cluster" },
  NO_LEADER: { status: "UNAVAILABLE", message: "etcdserver: no leader" },
  LEADER_CHANGED: { status: "UNAVAILABLE", message: "etcdserver: leader changed" },
  STOPPED: { status: "UNAVAILABLE", message: "etcdserver: server stopped" },
  TIMEOUT: { status: "UNAVAILABLE", message: "etcdserver: request timed out" },
  DEADLINE_EXCEEDED: { status: "DEADLINE_EXCEEDED", message: "context deadline exceeded" },
  CANCELLED: { status: "CANCELLED", message: "etcdserver: request canceled" },
  LEADER_TRANSFER_TIMEOUT: {
    status: "UNKNOWN",
    message: "etcdserver: request timed out, leader transfer took too long",
  },
  INVALID_REQUEST: { status: "INVALID_ARGUMENT", message: "quorate: the request is malformed" },
  UNAVAILABLE: { status: "UNAVAILABLE", message: "quorate: no endpoint could be reached" },
  CONNECTION_LOST: { status: "UNAVAILABLE", message: "quorate: the connection was lost" },
  CLUSTER_MISMATCH: { status: "FAILED_PRECONDITION", message: "etcdserver: cluster ID mismatch" },
  MEMBER_MISMATCH: { status: "FAILED_PRECONDITION", message: "quorate: another member answers at this address" },
  PROTOCOL_VERSION: { status: "FAILED_PRECONDITION", message: "quorate: the peer speaks another protocol version" },
  UNAUTHENTICATED: { status: "UNAUTHENTICATED", message: "quorate: wrong or missing cluster secret" },
  FORBIDDEN_ORIGIN: { status: "UNAUTHENTICATED", message: "quorate: this origin is not allowed" },
  ADDRESS_IN_USE: { status: "FAILED_PRECONDITION", message: "quorate: the address is in use" },
  BAD_CONFIG: { status: "INVALID_ARGUMENT", message: "quorate: the configuration is invalid" },
  DATA_DIR_IN_USE: { status: "FAILED_PRECONDITION", message: "quorate: the data directory is in use" },
  DATA_DIR_MISMATCH: {
    status: "FAILED_PRECONDITION",
    message: "quorate: the data directory belongs to another member or cluster",
  },
  FORMAT_TOO_NEW: {
    status: "FAILED_PRECONDITION",
    message: "quorate: the data was written by a newer version",
  },
  WAL_CORRUPT: { status: "DATA_LOSS", message: "quorate: the write-ahead log is damaged" },
  STATE_CORRUPT: { status: "DATA_LOSS", message: "quorate: the state database is damaged" },
  MEMBER_DATA_LOST: { status: "DATA_LOSS", message: "quorate: this member's data was lost" },
  MEMBER_REMOVED: { status: "FAILED_PRECONDITION", message: "quorate: this member was removed from the cluster" },
  DISK_FAILED: { status: "UNAVAILABLE", message: "quorate: a write to disk failed" },
  DISK_FULL: { status: "UNAVAILABLE", message: "quorate: the disk is full" },
  INTERNAL: { status: "INTERNAL", message: "quorate: an invariant was broken" },
  LEASE_EXISTS: { status: "FAILED_PRECONDITION", message: "etcdserver: lease already exists" },
  LEASE_TTL_TOO_LARGE: { status: "OUT_OF_RANGE", message: "etcdserver: too large lease TTL" },
  RESULT_TOO_LARGE: {
    status: "RESOURCE_EXHAUSTED",
    message: "quorate: the transaction was applied, but its result is too large to answer",
  },
  SNAPSHOT_CORRUPT: { status: "DATA_LOSS", message: "quorate: the snapshot cannot be used" },
  DATA_DIR_NOT_EMPTY: { status: "FAILED_PRECONDITION", message: "quorate: the data directory is not empty" },
  CLIENT_EXPIRED: { status: "NOT_FOUND", message: "quorate: the client's registration has expired" },
  SEQUENCE_SETTLED: {
    status: "FAILED_PRECONDITION",
    message: "quorate: the client has acknowledged this operation before",
  },
  TOO_MANY_OPEN_WRITES: {
    status: "RESOURCE_EXHAUSTED",
    message: "quorate: too many writes since the client's lowest unacknowledged one",
  },
  RESULT_NOT_KEPT: {
    status: "RESOURCE_EXHAUSTED",
    message: "quorate: the write was applied, but its result was not kept for a repeated request",
  },
  SESSION_LOST: { status: "FAILED_PRECONDITION", message: "quorate: the session has ended" },
  LOCK_RELEASED: { status: "FAILED_PRECONDITION", message: "mutex: lock has already been released" },
  ELECTION_NOT_LEADER: { status: "UNKNOWN", message: "election: not leader" },
  ELECTION_NO_LEADER: { status: "UNKNOWN", message: "election: no leader" },
  INVALID_CONFIG: { status: "INVALID_ARGUMENT", message: "quorate: the config value is invalid" },
  ELECTION_LEADER_MISSING: { status: "UNKNOWN", message: '"leader" field must be provided' },
  RESPONSE_TOO_LARGE: {
    status: "RESOURCE_EXHAUSTED",
    message: "quorate: the answer is larger than this client takes",
  },
} as const;

export type ErrorCode = keyof typeof FAILURES;

/** Facts beside the code: numbers and ids by name, for instance `{ compactRevision: 7 }`. Always plain values. */
export type ErrorDetails = Readonly<Record<string, string | number | bigint | boolean>>;

export interface StoreErrorOptions extends ErrorOptions {
  readonly outcome?: Outcome;
  readonly details?: ErrorDetails | undefined;
  /** Replaces the table's text. Keep etcd's texts whole: clients match them. */
  readonly message?: string | undefined;
}

/**
 * The one error type of the API. `code` says what happened, `outcome` whether the operation did: it is given where the
 * error is made, so a time-out before proposing is "rejected" and after it "unknown".
 */
export class StoreError extends Error {
  override readonly name = "StoreError";
  readonly code: ErrorCode;
  readonly outcome: Outcome;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, options: StoreErrorOptions = {}) {
    super(options.message ?? FAILURES[code].message, options);
    this.code = code;
    this.outcome = options.outcome ?? "rejected";
    this.details = options.details ?? {};
  }

  /** etcd's gRPC status for this error. */
  get status(): Status {
    const failure: Failure = FAILURES[this.code];
    return failure.status;
  }

  static is(error: unknown, code?: ErrorCode): error is StoreError {
    return error instanceof StoreError && (code === undefined || error.code === code);
  }
}
