/** Who a member is, and when an empty one may take part (design section 6). */
import { encodeUtf8, viewOf } from "../base/bytes.ts";
import { StoreError } from "../base/errors.ts";
import {
  type ClusterId,
  clusterId,
  compareIds,
  formatId,
  logIndex,
  type MemberId,
  memberId,
  term,
} from "../base/ids.ts";
import type { Random } from "../platform/random.ts";
import type { World } from "../platform/world.ts";
import type { Member } from "../protocol/key-value.ts";
import type { EntryId } from "../raft/entry.ts";
import type { ConfState } from "../raft/membership-types.ts";
import { PeerMesh } from "../transport/peers.ts";
import { decodeHello, encodeHello } from "./hello.ts";
import type { Bootstrap, ServerOptions, ServerWorld } from "./options.ts";

/** The log of a static cluster begins behind this place, as if a snapshot stood there: whoever joins later needs one. */
export const BIRTH: EntryId = { index: logIndex(1), term: term(1) };

export interface Birth {
  readonly memberId: MemberId;
  readonly clusterId: ClusterId;
  readonly conf: ConfState;
  /** The first members' records; for a joining member those it was told of, until the log tells it. */
  readonly members: readonly Member[];
  /** Members that must say that they never saw this one with data before it may take part. */
  readonly witnesses: readonly { readonly id: MemberId; readonly urls: readonly string[] }[];
}

const NO_CONF: ConfState = { voters: [], votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false };

function idFrom(world: Pick<World, "hmac">, token: string, text: string): bigint {
  // Domain-separated from the secret's use of the same function; 0 is no id.
  const digest = world.hmac(encodeUtf8(`quorate-id/${token}`), encodeUtf8(text));
  return viewOf(digest).getBigUint64(0) || 1n;
}

export function randomId(random: Random): bigint {
  return viewOf(random.bytes(8)).getBigUint64(0) || 1n;
}

/** Static ids: the member's from token and name, the cluster's from token and the sorted member ids. */
export function birthOf(
  world: Pick<World, "hmac" | "random">,
  options: Pick<ServerOptions, "name" | "bootstrap">,
  peerUrl: string | undefined,
): Birth {
  const bootstrap: Bootstrap = options.bootstrap;
  const peerUrls = peerUrl === undefined ? [] : [peerUrl];
  switch (bootstrap.kind) {
    case "alone": {
      const id = memberId(randomId(world.random));
      return {
        memberId: id,
        clusterId: clusterId(randomId(world.random)),
        conf: { ...NO_CONF, voters: [id] },
        members: [{ id, name: options.name, peerUrls, clientUrls: [], isLearner: false }],
        witnesses: [],
      };
    }
    case "static": {
      const names = bootstrap.members.map(({ name }) => name);
      if (new Set(names).size !== names.length) {
        throw new StoreError("BAD_CONFIG", { message: `quorate: two members have the same name: ${names.join(", ")}` });
      }
      if (!names.includes(options.name)) {
        throw new StoreError("BAD_CONFIG", {
          message: `quorate: the member list (${names.join(", ")}) does not name this member, ${options.name}`,
        });
      }
      const members = bootstrap.members
        .map((member) => ({
          id: memberId(idFrom(world, bootstrap.token, member.name)),
          name: member.name,
          peerUrls: [member.peerUrl],
          clientUrls: member.clientUrl === undefined ? [] : [member.clientUrl],
          isLearner: false,
        }))
        .sort((a, b) => compareIds(a.id, b.id));
      const ids = members.map(({ id }) => id);
      const self = members.find(({ name }) => name === options.name)!;
      return {
        memberId: self.id,
        clusterId: clusterId(idFrom(world, bootstrap.token, ids.map(formatId).join(","))),
        conf: { ...NO_CONF, voters: ids },
        members,
        witnesses: bootstrap.skipWaitForPeers
          ? []
          : members.filter(({ id }) => id !== self.id).map(({ id, peerUrls: urls }) => ({ id, urls })),
      };
    }
    case "join":
      return {
        memberId: bootstrap.id,
        clusterId: bootstrap.clusterId,
        conf: NO_CONF,
        members: bootstrap.members,
        witnesses: bootstrap.members
          .filter(({ id, name }) => id !== bootstrap.id && name !== "")
          .map(({ id, peerUrls: urls }) => ({ id, urls })),
      };
  }
}

/**
 * Waits until every witness has answered, and refuses with `MEMBER_DATA_LOST` if one saw this member with data before.
 * Never gives up by time; `aborted` ends it.
 */
export async function awaitWitnesses(
  world: ServerWorld,
  options: ServerOptions,
  birth: Birth,
  listenUrl: string | undefined,
  aborted: Promise<void>,
): Promise<void> {
  if (birth.witnesses.length === 0) return;
  const missing = new Set(birth.witnesses.map(({ id }) => id));
  let settle!: (error: StoreError | undefined) => void;
  const answered = new Promise<StoreError | undefined>((resolve) => {
    settle = resolve;
  });
  const mesh = new PeerMesh({
    network: world.network,
    clock: world.clock,
    random: world.random,
    log: world.log,
    hmac: world.hmac,
    self: { id: birth.memberId, clusterId: birth.clusterId, incarnation: 0 },
    ...(options.secret === undefined ? {} : { secret: options.secret }),
    ...(listenUrl === undefined ? {} : { listenUrl }),
    allowedOrigins: options.allowedOrigins ?? [],
    maxFrameBytes: 1 << 20,
    hello: () => encodeHello({ holdsData: false, noted: [] }),
    onHello: async (peer, bytes) => {
      const hello = decodeHello(bytes);
      if (hello.noted.includes(birth.memberId)) {
        settle(
          new StoreError("MEMBER_DATA_LOST", {
            details: { member: formatId(birth.memberId), witness: formatId(peer) },
            message:
              `quorate: member ${options.name} (${formatId(birth.memberId)}) has no data, but member ${formatId(peer)} has seen it with data. ` +
              "It may have voted and forgotten, so it must not take part: remove it (quorate member remove) and add a new one (quorate member add)",
          }),
        );
        return;
      }
      missing.delete(peer);
      if (missing.size === 0) settle(undefined);
    },
    onMessage: () => {},
    onBurst: () => {},
    onUp: () => {},
    onDown: () => {},
    onRoundTrip: () => {},
    onStream: (_from, connection) => connection.close("waiting"),
    onRemoved: (by) =>
      settle(
        new StoreError("MEMBER_REMOVED", {
          message: `quorate: member ${options.name} (${formatId(birth.memberId)}) was removed from the cluster, says member ${formatId(by)}; add a new one`,
        }),
      ),
  });
  const report = world.clock.every(5_000, () => {
    const names = birth.members.filter(({ id }) => missing.has(id)).map(({ name }) => name);
    world.log.warn({ waitingFor: names }, "this member is new: it waits until every other member has answered once");
  });
  try {
    if (listenUrl !== undefined) await mesh.listen();
    mesh.setPeers(birth.witnesses);
    const error = await Promise.race([
      answered,
      aborted.then(
        () => new StoreError("STOPPED", { message: "quorate: stopped while waiting for the other members" }),
      ),
    ]);
    if (error !== undefined) throw error;
    // Let the answer that a peer waits for leave before this mesh closes.
    await new Promise<void>((resolve) => world.clock.after(50, resolve));
  } finally {
    report.cancel();
    await mesh.close();
  }
}
