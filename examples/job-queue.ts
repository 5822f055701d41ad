/** A small job queue on quorate, and its author's test: whatever fails, each job is done once (docs/testing.md). */
import { type Client, compare, op } from "quorate";
import { FAULT_KINDS, Nemesis, SimulatedCluster, SimulatedWorld, simulatedClient } from "quorate/testing";

class JobQueue {
  #client: Client;
  #worker: string;

  constructor(client: Client, worker: string) {
    this.#client = client;
    this.#worker = worker;
  }

  /** Takes one job that nobody works on, for as long as the lease lives. */
  async claim(): Promise<{ id: string; token: number } | undefined> {
    for (const job of (await this.#client.get("jobs/", { prefix: true })).kvs) {
      const id = job.keyText().slice("jobs/".length);
      const lease = (await this.#client.lease.grant(3)).id;
      const free = [compare.version(`claims/${id}`, "=", 0), compare.version(`jobs/${id}`, ">", 0)];
      const taken = await this.#client
        .txn()
        .if(...free)
        .then(op.put(`claims/${id}`, this.#worker, { lease }))
        .commit();
      if (taken.succeeded) return { id, token: taken.header.revision };
      await this.#client.lease.revoke(lease);
    }
    return undefined;
  }

  /** The revision of the claim is its fencing token: a worker that was away for too long changes nothing. */
  async finish({ id, token }: { id: string; token: number }): Promise<boolean> {
    const mine = compare.createRevision(`claims/${id}`, "=", token);
    const done = [op.delete(`jobs/${id}`), op.delete(`claims/${id}`), op.put(`done/${id}`, this.#worker)];
    return (
      await this.#client
        .txn()
        .if(mine)
        .then(...done)
        .commit()
    ).succeeded;
  }
}

const world = new SimulatedWorld({ seed: 7 });
const cluster = new SimulatedCluster(world, { nodes: 3 });
for (const name of cluster.names) cluster.start(name);
await cluster.ready();
const connect = (name: string) => simulatedClient(world, name, cluster.names.map(SimulatedCluster.clientUrl));
const admin = await connect("admin");
for (let id = 1; id <= 20; id++) await world.settle(admin.put(`jobs/${id}`, "work"));

const chance = world.random("pauses");
const sleep = (ms: number) => new Promise<void>((resolve) => world.clock.after(ms, resolve));
const work = async (queue: JobQueue): Promise<never> => {
  for (;;) {
    await sleep(100 * chance());
    const claim = await queue.claim().catch(() => undefined); // the next turn tries again
    if (claim === undefined) continue;
    await sleep(500);
    await queue.finish(claim).catch(() => false); // done or not: whoever claims it next will see
  }
};
for (const worker of ["w1", "w2", "w3"]) void work(new JobQueue(await connect(worker), worker));

const nemesis = new Nemesis({
  clock: world.clock,
  random: world.random("nemesis"),
  controls: cluster,
  kinds: FAULT_KINDS,
  onFault() {},
});
nemesis.start();
await world.runFor(20_000);
await world.settle(nemesis.stop());
await world.runFor(30_000);
const left = await world.settle(admin.get("jobs/", { prefix: true, countOnly: true }));
const done = (await world.settle(admin.get("done/", { prefix: true }))).kvs;
console.log(
  `${done.length} jobs done, ${left.count} left, ${done.every(({ version }) => version === 1) ? "each once" : "some TWICE"}`,
);
process.exit(0);
