/**
 * This member's quota (etcd-semantics 7.4): what would exceed it is refused before it is proposed, and an alarm, which
 * goes through the log, makes every member refuse what grows. The alarm is this member's word about itself, so it is this
 * member that takes it back once space is free.
 */
import { StoreError } from "../base/errors.ts";
import type { MemberId } from "../base/ids.ts";
import type { AlarmCommand, Command } from "../machine/command.ts";
import type { Machine } from "../machine/machine.ts";
import { costOf } from "../machine/quota.ts";
import type { Clock, Timer } from "../platform/clock.ts";
import type { Logger } from "../platform/log.ts";
import type { Request } from "../protocol/requests.ts";

/** etcd's default. */
const DEFAULT_BYTES = 2 * 1024 ** 3;
/** Above it etcd warns: opening a member and sending snapshots take long. */
const LARGE_BYTES = 8 * 1024 ** 3;
/** How often the alarm of a member that was full is looked at again. */
const LOOK_MS = 1_000;
/** An alarm goes once a tenth of the quota is free: a few bytes would only raise it again with the next write. */
const RELEASE_AT = 0.9;
const PROPOSE_MS = 5_000;

/** Throws `BAD_CONFIG`. */
export function quotaOf(quotaBytes: number): number {
  if (!Number.isSafeInteger(quotaBytes)) {
    throw new StoreError("BAD_CONFIG", { message: `quorate: quotaBytes must be a whole number, not ${quotaBytes}` });
  }
  if (quotaBytes < 0) return Infinity;
  return quotaBytes === 0 ? DEFAULT_BYTES : quotaBytes;
}

export interface QuotaKeeperOptions {
  readonly self: MemberId;
  readonly clock: Clock;
  readonly log: Logger;
  /** 0: etcd's default of 2 GiB; below 0: none. */
  readonly quotaBytes: number;
  readonly usedBytes: () => number;
  readonly machine: () => Machine;
  readonly propose: (command: AlarmCommand, deadline: number) => Promise<unknown>;
}

export class QuotaKeeper {
  readonly #o: QuotaKeeperOptions;
  readonly #quota: number;
  #timer: Timer | undefined;
  /** A command of this keeper is under way. */
  #proposing = false;
  #stopped = false;

  constructor(options: QuotaKeeperOptions) {
    const { quotaBytes, log } = options;
    this.#o = options;
    this.#quota = quotaOf(quotaBytes);
    if (this.#quota > LARGE_BYTES && this.#quota !== Infinity) {
      log.warn(
        { quotaBytes, most: LARGE_BYTES },
        "the quota is larger than recommended: restarts and snapshots take long",
      );
    }
  }

  /** 0: none. */
  get quotaBytes(): number {
    return this.#quota === Infinity ? 0 : this.#quota;
  }

  start(): void {
    this.#timer = this.#o.clock.every(LOOK_MS, () => this.#look());
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  /** Before anything else is looked at, as in etcd: throws `NO_SPACE`, and raises the alarm, if it does not fit. */
  admit(request: Request): void {
    let cost: number;
    try {
      cost = costOf(request);
    } catch {
      return; // malformed: the checks behind this one name what is wrong with it
    }
    if (this.#fits(cost)) return;
    this.#raise();
    throw new StoreError("NO_SPACE");
  }

  /** The same check when a command is applied. It counts, and is answered, but it was the last. */
  applied(command: Command): void {
    if (this.#o.usedBytes() >= this.#quota && costOf(command) > 0) this.#raise();
  }

  #fits(cost: number): boolean {
    // No number at all is a malformed request's, and named by the checks behind this one.
    return !(cost > 0) || this.#o.usedBytes() + cost < this.#quota;
  }

  get #stands(): boolean {
    return this.#o.machine().alarms.stands(this.#o.self, "nospace");
  }

  /** If it is lost, the next write that does not fit raises it again. */
  #raise(): void {
    if (this.#stands || this.#proposing || this.#stopped) return;
    this.#o.log.warn({ usedBytes: this.#o.usedBytes(), quotaBytes: this.#quota }, "out of space: writes are refused");
    this.#propose("activate");
  }

  #look(): void {
    if (this.#stands && this.#o.usedBytes() <= this.#quota * RELEASE_AT) this.#propose("deactivate");
  }

  #propose(action: AlarmCommand["action"]): void {
    if (this.#proposing || this.#stopped) return;
    this.#proposing = true;
    const { self, clock, propose } = this.#o;
    const done = (): void => {
      this.#proposing = false;
    };
    propose({ kind: "alarm", action, member: self, alarm: "nospace" }, clock.now() + PROPOSE_MS).then(done, done);
  }
}
