/** Which alarms stand. A fact of the whole cluster: while one says that space is short, no member's writes may grow. */
import { compareIds, type MemberId } from "../base/ids.ts";
import type { AlarmType } from "../protocol/requests.ts";
import type { Alarm } from "../protocol/responses.ts";
import type { AlarmCommand } from "./command.ts";
import { alarmKey, encodeAlarm } from "./records.ts";
import type { StateHash } from "./state-hash.ts";
import type { StateStore } from "./state-store.ts";

export class Alarms {
  readonly #store: StateStore;
  readonly #hash: StateHash;
  /** By member, ascending. */
  #list: readonly Alarm[] = [];
  #noSpace = false;

  constructor(store: StateStore, hash: StateHash) {
    this.#store = store;
    this.#hash = hash;
  }

  /** From a record of the state. */
  load(alarm: Alarm): void {
    this.#set([...this.#list, alarm]);
  }

  get list(): readonly Alarm[] {
    return this.#list;
  }

  /** Some member is out of space. */
  get noSpace(): boolean {
    return this.#noSpace;
  }

  stands(member: MemberId, alarm: AlarmType): boolean {
    return this.#list.some((one) => one.member === member && one.alarm === alarm);
  }

  /** The alarm raised, whether it stood before or not; the one released, if it stood (etcd-semantics 7.3). */
  apply({ action, member, alarm }: AlarmCommand): readonly Alarm[] {
    const one: Alarm = { member, alarm };
    const stood = this.stands(member, alarm);
    if (action === "activate") {
      if (!stood) this.#raise(one);
      return [one];
    }
    if (!stood) return [];
    this.#release(one);
    return [one];
  }

  /** A member that is gone can release nothing any more. */
  memberRemoved(member: MemberId): void {
    for (const one of this.#list.filter((each) => each.member === member)) this.#release(one);
  }

  #raise(one: Alarm): void {
    const key = alarmKey(one);
    const bytes = encodeAlarm();
    this.#hash.bytes(key);
    this.#hash.bytes(bytes);
    this.#store.write(key, bytes);
    this.#set([...this.#list, one]);
  }

  #release(one: Alarm): void {
    const key = alarmKey(one);
    this.#hash.bytes(key);
    this.#hash.word(0);
    this.#store.delete(key);
    this.#set(this.#list.filter(({ member, alarm }) => member !== one.member || alarm !== one.alarm));
  }

  #set(list: readonly Alarm[]): void {
    this.#list = [...list].sort((a, b) => compareIds(a.member, b.member) || (a.alarm < b.alarm ? 1 : -1));
    this.#noSpace = list.some(({ alarm }) => alarm === "nospace");
  }
}
