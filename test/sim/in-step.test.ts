/** A client that turns to the leader is in step with itself: what it wrote is there for whatever it asks next. */
import { expect, test } from "vitest";
import { Client } from "../../src/client/client.ts";
import { silent } from "../../src/platform/log.ts";
import { SimulatedCluster, SimulatedWorld } from "../../src/testing/index.ts";
import { connectChannel } from "../../src/transport/client-channel.ts";

test.each([1, 2])("serializable reads, new watches and lists see the client's own writes, seed %d", async (seed) => {
  const world = new SimulatedWorld({ seed });
  const cluster = new SimulatedCluster(world, { nodes: 3, server: {} });
  for (const name of cluster.names) cluster.start(name);
  expect(await cluster.ready()).toBe(true);
  const { clock, random, network } = world.host("client").boot();
  const followers = cluster.names.filter((name) => name !== cluster.leader);
  // Begins with the first endpoint, a follower.
  const client = await Client.open({
    clock,
    random: { next: () => 0, bytes: (length) => random.bytes(length) },
    endpoints: [...followers, cluster.leader!].map((name) => SimulatedCluster.clientUrl(name)),
    dial: async (endpoint, timeoutMs) => {
      const connection = await network.dial(endpoint, { maxFrameBytes: 64 << 20, timeoutMs });
      return connectChannel(connection, { clock, log: silent, timeoutMs });
    },
  });
  for (let i = 0; i < 50; i++) {
    const { header } = await world.settle(client.put("a", `${i}`));
    const { kvs } = await world.settle(client.get("a", { serializable: true }));
    expect(kvs[0]?.text()).toBe(`${i}`);
    const watch = client.watch("a");
    expect((await world.settle(watch.opened())).revision).toBeGreaterThanOrEqual(header.revision);
    await world.settle(client.put("a", "next"));
    const { value } = await world.settle(watch.next());
    expect(value?.events[0]?.kv.text()).toBe("next");
    await watch.close();
    const { id } = await world.settle(client.lease.grant(60));
    expect((await world.settle(client.lease.list())).leases).toContain(id);
  }
  await client.close();
});
