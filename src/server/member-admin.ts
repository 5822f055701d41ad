/** Membership and leadership by request: etcd's checks in etcd's order (etcd-semantics sections 7.1 and 7.2). */
import { StoreError } from "../base/errors.ts";
import { type MemberId, memberId } from "../base/ids.ts";
import type { MembershipCommand } from "../machine/command.ts";
import type { Applied, Machine } from "../machine/machine.ts";
import type { Clock } from "../platform/clock.ts";
import type { Random } from "../platform/random.ts";
import type { MemberPromoteRequest, Request } from "../protocol/requests.ts";
import type { MembersResult, Result } from "../protocol/responses.ts";
import type { ConfChange } from "../raft/membership-types.ts";
import type { Raft } from "../raft/raft.ts";
import { randomId } from "./bootstrap.ts";
import type { Driver } from "./driver.ts";
import type { PeerCalls } from "./peer-calls.ts";

type AdminRequest = Extract<
  Request,
  { kind: "memberAdd" | "memberRemove" | "memberUpdate" | "memberPromote" | "moveLeader" }
>;

export interface MemberAdminOptions {
  readonly self: MemberId;
  readonly clock: Clock;
  readonly random: Random;
  readonly raft: Raft;
  readonly driver: () => Driver;
  readonly machine: () => Machine;
  readonly propose: (
    command: MembershipCommand,
    deadline: number,
    change: (data: Uint8Array) => ConfChange,
  ) => Promise<Applied>;
  readonly linearizable: (deadline: number) => Promise<void>;
  readonly connectedSince: (id: MemberId) => number | undefined;
  readonly transition: ConfChange["transition"];
  /** A promote request goes to the leader. */
  readonly calls: PeerCalls;
}

/** A member counts as connected once it has been for as long (etcd's HealthInterval, section 13.2). */
const HEALTHY_AFTER_MS = 5_000;
const PEER_URL = /^(wss?|https?):\/\/(\[[0-9a-fA-F:]+\]|[^/:\s]+):(\d{1,5})\/?$/;

export class MemberAdmin {
  readonly #o: MemberAdminOptions;

  constructor(options: MemberAdminOptions) {
    this.#o = options;
  }

  async handle(request: AdminRequest, deadline: number): Promise<Result> {
    switch (request.kind) {
      case "memberAdd": {
        checkUrls(request.peerUrls);
        const members = this.#o.machine().members();
        const voters = members.filter((member) => !member.isLearner);
        const started = voters.filter((member) => member.name !== "").length;
        if (request.isLearner !== true) {
          const quorum = Math.floor((voters.length + 1) / 2) + 1;
          // Growing from one to two is allowed although the newcomer cannot have started (check A).
          if (started < quorum && !(started === 1 && voters.length === 1))
            throw new StoreError("MEMBER_NOT_ENOUGH_STARTED");
        }
        if (
          voters.length > 1 &&
          this.#connected(voters.map(({ id }) => id)) < Math.floor((voters.length + 1) / 2) + 1
        ) {
          throw new StoreError("UNHEALTHY");
        }
        const id = memberId(randomId(this.#o.random));
        const isLearner = request.isLearner === true;
        const command: MembershipCommand = {
          kind: "memberAdd",
          id,
          name: "",
          peerUrls: request.peerUrls,
          clientUrls: [],
          isLearner,
        };
        return this.#change(command, [{ action: isLearner ? "addLearner" : "addVoter", id }], deadline);
      }
      case "memberRemove": {
        const members = this.#o.machine().members();
        const target = members.find(({ id }) => id === request.id);
        if (target === undefined) throw new StoreError("MEMBER_NOT_FOUND");
        if (!target.isLearner) {
          const voters = members.filter((member) => !member.isLearner);
          const left = voters.filter((member) => member.id !== request.id);
          const started = left.filter((member) => member.name !== "").length;
          if (started < Math.floor(left.length / 2) + 1) throw new StoreError("MEMBER_NOT_ENOUGH_STARTED");
          const connected = this.#isConnected(request.id);
          if (connected && this.#connected(left.map(({ id }) => id)) < Math.floor(left.length / 2) + 1) {
            throw new StoreError("UNHEALTHY");
          }
        }
        return this.#change({ kind: "memberRemove", id: request.id }, [{ action: "remove", id: request.id }], deadline);
      }
      case "memberUpdate":
        // etcd leaves this check to its client; a bad address here would part a member from its cluster.
        checkUrls(request.peerUrls);
        return this.#change(
          { kind: "memberUpdate", id: request.id, peerUrls: request.peerUrls },
          [{ action: "updateNode", id: request.id }],
          deadline,
        );
      case "memberPromote":
        return this.#promote(request, deadline);
      case "moveLeader":
        return this.#moveLeader(request.target, deadline);
    }
  }

  /** A promote request that another member passed on. */
  async servePromote(request: MemberPromoteRequest, deadline: number): Promise<Result> {
    if (this.#o.driver().soft.role !== "leader") throw new StoreError("NOT_LEADER");
    return this.#promote(request, deadline);
  }

  async #promote(request: MemberPromoteRequest, deadline: number): Promise<Result> {
    const { raft } = this.#o;
    const { role, leader } = this.#o.driver().soft;
    if (role !== "leader") {
      if (leader === undefined) throw new StoreError("NO_LEADER");
      return this.#o.calls.call(leader, request, deadline);
    }
    await this.#o.linearizable(deadline);
    const members = this.#o.machine().members();
    const target = members.find(({ id }) => id === request.id);
    if (target === undefined) throw new StoreError("MEMBER_NOT_FOUND");
    if (target.isLearner) {
      const status = raft.status();
      const match = status.progress.find(({ id }) => id === request.id)?.match ?? 0;
      if (match < 0.9 * status.lastIndex) throw new StoreError("MEMBER_LEARNER_NOT_READY");
      const voters = members.filter((member) => !member.isLearner);
      const started = voters.filter((member) => member.name !== "").length + (target.name !== "" ? 1 : 0);
      if (started < Math.floor((voters.length + 1) / 2) + 1) throw new StoreError("MEMBER_NOT_ENOUGH_STARTED");
    }
    return this.#change({ kind: "memberPromote", id: request.id }, [{ action: "addVoter", id: request.id }], deadline);
  }

  async #change(command: MembershipCommand, steps: ConfChange["steps"], deadline: number): Promise<MembersResult> {
    const applied = await this.#o.propose(command, deadline, (context) => ({
      steps,
      transition: this.#o.transition,
      context,
    }));
    if (!applied.outcome.ok) throw applied.outcome.error;
    const result = applied.outcome.result;
    if (result.kind !== "members") throw new StoreError("INTERNAL", { outcome: "applied" });
    return result;
  }

  async #moveLeader(target: MemberId, deadline: number): Promise<Result> {
    const { raft, clock } = this.#o;
    const driver = this.#o.driver();
    if (driver.soft.role !== "leader") throw new StoreError("NOT_LEADER");
    if (target === this.#o.self) return { kind: "moveLeader" };
    if (!raft.conf.voters.includes(target)) throw new StoreError("BAD_LEADER_TRANSFEREE");
    if (!raft.transferLeader(target)) throw new StoreError("BAD_LEADER_TRANSFEREE");
    driver.poke();
    await new Promise<void>((resolve, reject) => {
      const timer = clock.every(10, () => {
        if (driver.soft.leader === target) {
          timer.cancel();
          resolve();
        } else if (clock.now() >= deadline) {
          timer.cancel();
          reject(new StoreError("LEADER_TRANSFER_TIMEOUT", { outcome: "unknown" }));
        }
      });
    });
    return { kind: "moveLeader" };
  }

  #isConnected(id: MemberId): boolean {
    if (id === this.#o.self) return true;
    return this.#o.connectedSince(id) !== undefined;
  }

  #connected(ids: readonly MemberId[]): number {
    const now = this.#o.clock.now();
    let count = 0;
    for (const id of ids) {
      const since = this.#o.connectedSince(id);
      if (id === this.#o.self || (since !== undefined && now - since >= HEALTHY_AFTER_MS)) count += 1;
    }
    return count;
  }
}

function checkUrls(urls: readonly string[]): void {
  const good = (url: string): boolean => Number(PEER_URL.exec(url)?.[3] ?? Number.NaN) <= 65_535;
  if (urls.length === 0 || !urls.every(good)) throw new StoreError("MEMBER_BAD_URLS");
}
