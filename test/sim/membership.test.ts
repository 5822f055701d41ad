/** Members come and go while the cluster serves, told on virtual time. */
import { describe, expect, test } from "vitest";
import { encodeUtf8 } from "../../src/base/bytes.ts";
import type { MemberId } from "../../src/base/ids.ts";
import type { Request } from "../../src/protocol/requests.ts";
import type { ServerOptions } from "../../src/server/options.ts";
import { Server } from "../../src/server/server.ts";
import { SimulatedCluster, SimulatedWorld, simulatedClient } from "../../src/testing/index.ts";

async function started(
  seed: number,
  nodes = 3,
  server: Partial<ServerOptions> = {},
): Promise<{ world: SimulatedWorld; cluster: SimulatedCluster; leader: string }> {
  const world = new SimulatedWorld({ seed });
  const cluster = new SimulatedCluster(world, { nodes, server });
  for (const name of cluster.names) cluster.start(name);
  expect(await cluster.ready()).toBe(true);
  // As in etcd, members count as healthy once they have been connected for 5 s.
  await world.runFor(6_000);
  return { world, cluster, leader: cluster.leader! };
}

const put: Request = { kind: "put", key: encodeUtf8("a"), value: encodeUtf8("1") };
const get: Request = { kind: "range", key: encodeUtf8("a"), serializable: true };
const call = { timeoutMs: 5_000 };

async function bytesOf(stream: AsyncIterable<Uint8Array>): Promise<number> {
  let bytes = 0;
  for await (const part of stream) bytes += part.length;
  return bytes;
}

/** The error with which a member ended. */
async function ending(world: SimulatedWorld, server: Server): Promise<string | undefined> {
  return (await world.settle(server.stopped))?.code;
}

describe("memberRemove", () => {
  test("of a follower is answered, and the follower ends by name", async () => {
    const { world, cluster, leader } = await started(201);
    const away = cluster.server(cluster.names.find((name) => name !== leader)!)!;
    const { result } = await world.settle(cluster.server(leader)!.handle({ kind: "memberRemove", id: away.id }, call));
    expect(result.kind === "members" && result.members.map(({ id }) => id).includes(away.id)).toBe(false);
    expect(await ending(world, away)).toBe("MEMBER_REMOVED");
    await world.settle(cluster.server(leader)!.handle(put, call));
  });

  test("of the leader, asked of itself, is answered, and the others go on", async () => {
    const { world, cluster, leader } = await started(202);
    const old = cluster.server(leader)!;
    const { result } = await world.settle(old.handle({ kind: "memberRemove", id: old.id }, call));
    expect(result.kind).toBe("members");
    expect(await ending(world, old)).toBe("MEMBER_REMOVED");
    const others = cluster.names.filter((name) => name !== leader);
    expect(
      await world.until(() => others.some((name) => cluster.server(name)?.status().role === "leader"), 30_000),
    ).toBe(true);
    for (const name of others) await world.settle(cluster.server(name)!.handle(put, call));
  });

  test("of a member that is down leaves two that serve; when it comes back it is told, and ends by name", async () => {
    const { world, cluster, leader } = await started(203);
    const name = cluster.names.find((each) => each !== leader)!;
    const id: MemberId = cluster.server(name)!.id;
    cluster.kill(name, "cut");
    await world.settle(cluster.server(leader)!.handle({ kind: "memberRemove", id }, call));
    cluster.start(name);
    expect(await world.until(() => cluster.server(name) !== undefined, 10_000)).toBe(true);
    expect(await ending(world, cluster.server(name)!)).toBe("MEMBER_REMOVED");
    // With an empty disk it cannot even begin.
    cluster.kill(name, "cut");
    world.host(name).replaceDisk();
    cluster.failures.length = 0;
    cluster.start(name);
    expect(await world.until(() => cluster.failures.length > 0, 30_000)).toBe(true);
    expect(cluster.failures[0]).toMatch(/did not open.*(has seen it with data|was removed from the cluster)/);
    await world.settle(cluster.server(leader)!.handle(put, call));
  });
});

/** M14: whoever stays alone may not be left in doubt about the change that left it alone. */
describe.each(["auto", "joint"] as const)("memberRemove from a cluster of two (%s)", (membershipTransition) => {
  /** The other one serves by itself, and the removed one ends. */
  async function alone(world: SimulatedWorld, cluster: SimulatedCluster, stays: string, goes: Server): Promise<void> {
    expect(await world.until(() => cluster.server(stays)?.status().role === "leader", 60_000)).toBe(true);
    await world.settle(cluster.server(stays)!.handle(put, call));
    expect(await ending(world, goes)).toBe("MEMBER_REMOVED");
  }
  const gone = (server: Server) => () => !server.members().some(({ id }) => id === server.id);

  test.each([211, 212, 213])("of the leader leaves one that serves (seed %i)", async (seed) => {
    const { world, cluster, leader } = await started(seed, 2, { membershipTransition });
    const [goes, stays] = [cluster.server(leader)!, cluster.names.find((name) => name !== leader)!];
    await world.settle(goes.handle({ kind: "memberRemove", id: goes.id }, call));
    await alone(world, cluster, stays, goes);
  });

  test.each([2, 20])("of the leader, which is cut off for %i s once it is removed", async (seconds) => {
    const { world, cluster, leader } = await started(214, 2, { membershipTransition });
    const [goes, stays] = [cluster.server(leader)!, cluster.names.find((name) => name !== leader)!];
    const removing = goes.handle({ kind: "memberRemove", id: goes.id }, call).catch(() => {});
    expect(await world.until(gone(goes), 5_000)).toBe(true);
    cluster.cut(leader, stays);
    cluster.cut(stays, leader);
    await world.runFor(seconds * 1_000);
    cluster.healCuts();
    await world.settle(removing);
    await alone(world, cluster, stays, goes);
  });

  test.each(["leader", "follower"])("of the %s, and the other one is killed as soon as that is known", async (role) => {
    const { world, cluster, leader } = await started(215, 2, { membershipTransition });
    const follower = cluster.names.find((name) => name !== leader)!;
    const [goesName, stays] = role === "leader" ? [leader, follower] : [follower, leader];
    const goes = cluster.server(goesName)!;
    const removing = goes.handle({ kind: "memberRemove", id: goes.id }, call).catch(() => {});
    expect(await world.until(gone(goes), 5_000)).toBe(true);
    cluster.kill(stays, "cut");
    await world.runFor(10_000);
    cluster.start(stays);
    await world.settle(removing);
    await alone(world, cluster, stays, goes);
  });

  test("of the leader, and the other one stays away: the removed one waits, and gives what it has", async () => {
    const { world, cluster, leader } = await started(219, 2, { membershipTransition });
    const [goes, stays] = [cluster.server(leader)!, cluster.names.find((name) => name !== leader)!];
    await world.settle(goes.handle(put, call));
    const removing = goes.handle({ kind: "memberRemove", id: goes.id }, call).catch(() => {});
    expect(await world.until(gone(goes), 5_000)).toBe(true);
    cluster.kill(stays, "cut");
    await world.runFor(60_000);
    await world.settle(removing);
    const refused = (server: Server) =>
      world.settle(
        server.handle(get, call).then(
          () => "answered",
          (error: Error) => error.message,
        ),
      );
    expect(await refused(goes)).toMatch(/was removed from the cluster; it stays until .*: leave it running$/);
    // Also when it was restarted meanwhile: what it waits for is in its log.
    cluster.kill(leader, "cut");
    cluster.start(leader);
    expect(await world.until(() => cluster.server(leader) !== undefined, 10_000)).toBe(true);
    await world.runFor(60_000);
    expect(await refused(cluster.server(leader)!)).toMatch(/leave it running$/);
    const endpoint = SimulatedCluster.clientUrl(leader);
    const client = await simulatedClient(world, "saver", [endpoint]);
    // Who asks no member in particular does not mean this one.
    await expect(world.settle(bytesOf(client.snapshot()))).rejects.toMatchObject({ code: "MEMBER_REMOVED" });
    const saved = await world.settle(bytesOf(client.snapshot({ endpoint })));
    expect(saved).toBeGreaterThan(100);
    await world.settle(client.close());
    cluster.start(stays);
    await alone(world, cluster, stays, cluster.server(leader)!);
  });

  test.each([216, 217, 218])(
    "of the leader, and the power fails before the other's disk knows (seed %i)",
    async (seed) => {
      const { world, cluster, leader } = await started(seed, 2, { membershipTransition });
      const [goes, stays] = [cluster.server(leader)!, cluster.names.find((name) => name !== leader)!];
      const other = cluster.server(stays)!;
      const removing = goes.handle({ kind: "memberRemove", id: goes.id }, call).catch(() => {});
      expect(await world.until(() => !other.members().some(({ id }) => id === goes.id), 5_000)).toBe(true);
      const { disk } = world.host(stays);
      disk.stall(true);
      await world.runFor(5_000);
      cluster.kill(stays, "cut");
      disk.stall(false);
      cluster.start(stays);
      await world.settle(removing);
      await alone(world, cluster, stays, goes);
    },
  );
});

test("a member that was added and removed before its first start is told so when it joins", async () => {
  const { world, cluster, leader } = await started(205);
  const server = cluster.server(leader)!;
  const added = await world.settle(server.handle({ kind: "memberAdd", peerUrls: ["ws://n4:7401"] }, call));
  if (added.result.kind !== "members") throw new TypeError(added.result.kind);
  const { member, members } = added.result;
  await world.settle(server.handle({ kind: "memberRemove", id: member!.id }, call));
  const bootstrap = { kind: "join", id: member!.id, clusterId: server.clusterId, members } as const;
  const joining = Server.open(world.host("n4").boot(), { name: "n4", bootstrap, listenPeerUrl: "ws://n4:7401" });
  await expect(world.settle(joining)).rejects.toMatchObject({ code: "MEMBER_REMOVED" });
});

test("moveLeader hands leadership to the member named, and refuses what cannot lead", async () => {
  const { world, cluster, leader } = await started(204);
  const target = cluster.server(cluster.names.find((name) => name !== leader)!)!;
  await world.settle(cluster.server(leader)!.handle({ kind: "moveLeader", target: target.id }, call));
  expect(target.status().role).toBe("leader");
  const refused = await world.settle(
    cluster
      .server(leader)!
      .handle({ kind: "moveLeader", target: target.id }, call)
      .catch((error: { code: string }) => error.code),
  );
  expect(refused).toBe("NOT_LEADER");
});
