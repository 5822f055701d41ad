/** Who belongs to the cluster, as clients see it. Raft's own configuration is a matter of its core. */
import { StoreError } from "../base/errors.ts";
import { compareIds, type MemberId } from "../base/ids.ts";
import type { Member } from "../protocol/key-value.ts";
import type { MembershipCommand, PublishCommand } from "./command.ts";
import { encodeMember, type MemberRecord, memberKey } from "./records.ts";
import type { StateHash } from "./state-hash.ts";
import type { StateStore } from "./state-store.ts";

/** etcd's default for `max-learners`. */
const LEARNERS_MAX = 1;

export class Members {
  readonly #store: StateStore;
  readonly #hash: StateHash;
  readonly #byId = new Map<MemberId, Member>();
  readonly #removed = new Set<MemberId>();
  #list: readonly Member[] | undefined;

  constructor(store: StateStore, hash: StateHash) {
    this.#store = store;
    this.#hash = hash;
  }

  /** From a record of the state. */
  load(record: MemberRecord): void {
    if (record.kind === "removed") this.#removed.add(record.id);
    else this.#byId.set(record.member.id, record.member);
    this.#list = undefined;
  }

  /** By id, ascending. */
  list(): readonly Member[] {
    this.#list ??= [...this.#byId.values()].sort((a, b) => compareIds(a.id, b.id));
    return this.#list;
  }

  get removed(): ReadonlySet<MemberId> {
    return this.#removed;
  }

  /**
   * Carries out a command or throws and changes nothing (etcd-semantics 7.1). Returns the member added, if any. Looks
   * at replicated state alone, so that every member decides alike (M6).
   */
  apply(command: MembershipCommand | PublishCommand): Member | undefined {
    switch (command.kind) {
      case "memberAdd": {
        const { id, name, peerUrls, clientUrls, isLearner } = command;
        if (this.#removed.has(id)) throw new StoreError("MEMBER_NOT_FOUND");
        if (this.#byId.has(id)) throw new StoreError("MEMBER_EXISTS");
        this.#requireFree(peerUrls, undefined);
        if (isLearner && this.list().filter((member) => member.isLearner).length >= LEARNERS_MAX) {
          throw new StoreError("TOO_MANY_LEARNERS");
        }
        const member = { id, name, peerUrls, clientUrls, isLearner };
        this.#save({ kind: "member", member });
        return member;
      }
      case "memberRemove":
        this.#require(command.id);
        this.#byId.delete(command.id);
        this.#save({ kind: "removed", id: command.id });
        return undefined;
      case "memberUpdate": {
        const member = this.#require(command.id);
        this.#requireFree(command.peerUrls, command.id);
        this.#save({ kind: "member", member: { ...member, peerUrls: command.peerUrls } });
        return undefined;
      }
      case "memberPromote": {
        const member = this.#require(command.id);
        if (!member.isLearner) throw new StoreError("MEMBER_NOT_LEARNER");
        this.#save({ kind: "member", member: { ...member, isLearner: false } });
        return undefined;
      }
      case "memberPublish": {
        // It may have been removed since it proposed this: nothing to tell then.
        const member = this.#byId.get(command.id);
        if (member === undefined) return undefined;
        this.#save({ kind: "member", member: { ...member, name: command.name, clientUrls: command.clientUrls } });
        return undefined;
      }
    }
  }

  #require(id: MemberId): Member {
    const member = this.#byId.get(id);
    if (member === undefined) throw new StoreError("MEMBER_NOT_FOUND");
    return member;
  }

  #requireFree(peerUrls: readonly string[], except: MemberId | undefined): void {
    for (const { id, peerUrls: used } of this.#byId.values()) {
      if (id !== except && used.some((url) => peerUrls.includes(url))) throw new StoreError("PEER_URL_EXISTS");
    }
  }

  #save(record: MemberRecord): void {
    const key = memberKey(record.kind === "member" ? record.member.id : record.id);
    const bytes = encodeMember(record);
    this.load(record);
    this.#hash.bytes(key);
    this.#hash.bytes(bytes);
    this.#store.write(key, bytes);
  }
}
