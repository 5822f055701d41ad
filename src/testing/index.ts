/** `quorate/testing`: the simulated world, its faults and the checkers, for quorate's own tests and for its users'. */

export { type AvailabilityOptions, checkAvailability } from "./checkers/availability.ts";
export {
  type ConfigCheckOptions,
  type ConfigRecord,
  type ConfigSight,
  type ConfigWrite,
  checkConfig,
} from "./checkers/config.ts";
export { checkExactlyOnce, type OnceEffect, type OnceOperation } from "./checkers/exactly-once.ts";
export {
  type Contention,
  checkFencing,
  type Effect,
  type LandedEffect,
  type Stop,
  type Tenure,
  unguardedOverlaps,
} from "./checkers/fencing.ts";
export { checkHashAgreement, HashAgreement, type HashSample } from "./checkers/hash-agreement.ts";
export { checkBank, checkSet, checkUniqueIds } from "./checkers/invariants.ts";
export { LeaseCensus, type LeaseCensusFigures, type LeaseCensusOptions } from "./checkers/lease-census.ts";
export { checkLeases, type LeaseCheckOptions, type LeaseLife, type LeaseSight } from "./checkers/leases.ts";
export { checkLinearizability, type LinearizabilityOptions } from "./checkers/linearizability.ts";
export { checkLostWrites, type FinalState } from "./checkers/lost-writes.ts";
export { checkObservations, type Observation } from "./checkers/observations.ts";
export { checkSerializable } from "./checkers/serializable.ts";
export { checkAppend, parseList } from "./checkers/transactions.ts";
export type { Verdict } from "./checkers/verdict.ts";
export {
  checkWatches,
  type Happened,
  type WatchCheckOptions,
  type WatchedBatch,
  type WatchedEvent,
  type WatchedRecord,
  type WatchSegment,
} from "./checkers/watches.ts";
export { type ClusterOptions, SimulatedCluster, simulatedClient } from "./cluster.ts";
export { Collector, type CollectorOptions } from "./collector.ts";
export { Counters, RARE_AT_LEAST, RARE_EVENTS, type RareEvent } from "./counters.ts";
export { type CutMoment, cutting } from "./cutting.ts";
export { shrink, withFragment } from "./fragment.ts";
export {
  describeOperation,
  type FaultEvent,
  History,
  type HistoryCompare,
  type HistoryKeyValue,
  type HistoryOp,
  type HistoryOpResult,
  type HistoryRecord,
  type HistoryRequest,
  type HistoryResult,
  type HistoryRole,
  type HistoryTxn,
  type Operation,
  operationsOf,
} from "./history.ts";
export {
  type CustomFault,
  FASTEST_CLOCK,
  FAULT_KINDS,
  type FaultControls,
  type FaultKind,
  type LinkTrouble,
  Nemesis,
  type NemesisOptions,
} from "./nemesis.ts";
export { faultSchedule, type RunSummary, renderReport } from "./report.ts";
export { type SimOptions, type SimReport, simulate, summaryOf, WORKLOADS } from "./simulate.ts";
export { ClockDrift, Gate, HostClock, VirtualClock } from "./virtual-clock.ts";
export { ConfigWorkload, type ConfigWorkloadOptions } from "./workloads/config.ts";
export { type ContenderOptions, ContenderWorkload, landedEffects } from "./workloads/contenders.ts";
export { type Call, KvWorkload, type KvWorkloadOptions, type Turn, type WorkloadCounts } from "./workloads/kv.ts";
export { LeaseWorkload, type LeaseWorkloadOptions } from "./workloads/leases.ts";
export { ManyLeases, type ManyLeasesOptions } from "./workloads/many-leases.ts";
export { ONCE_PREFIX, OnceWorkload, type OnceWorkloadOptions, onceEffect } from "./workloads/once.ts";
export { TURN_WORKLOADS, type TurnWorkload } from "./workloads/turns.ts";
export { WatchWorkload, type WatchWorkloadOptions } from "./workloads/watches.ts";
export { Host, type Power, type ProcessWorld, randomOf, SimulatedWorld, type WorldOptions } from "./world.ts";
