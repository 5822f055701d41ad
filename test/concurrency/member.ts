/** Where recipes run in tests: a member in memory, and a simulated cluster whose clients can be stopped. */
import { expect, onTestFinished, vi } from "vitest";
import { StoreError } from "../../src/base/errors.ts";
import type { Client } from "../../src/client/client.ts";
import { Node } from "../../src/node/node.ts";
import type { Request } from "../../src/protocol/requests.ts";
import { Server } from "../../src/server/server.ts";
import { type Host, SimulatedCluster, SimulatedWorld, simulatedClient } from "../../src/testing/index.ts";

export interface Member {
  readonly node: Node;
  readonly client: Client;
  /** What the client has asked so far. */
  readonly asked: () => readonly Request[];
}

export async function member(): Promise<Member> {
  const node = await Node.open({});
  onTestFinished(() => node.close({ handOver: false }));
  // What arrives at the member, but for what a client says of itself.
  const spy = vi.spyOn(Server.prototype, "handle");
  onTestFinished(() => spy.mockRestore());
  const asked = () => spy.mock.calls.map(([request]) => request).filter(({ kind }) => kind !== "register");
  return { node, client: node.client(), asked };
}

/** The error with which it ends. */
export async function failure(promise: Promise<unknown>): Promise<StoreError> {
  const error: unknown = await promise.then(
    () => expect.fail("it was done"),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(StoreError);
  return error as StoreError;
}

/** Three members and clients on hosts of their own, on virtual time. */
export class Stage {
  readonly world: SimulatedWorld;
  readonly cluster: SimulatedCluster;
  #clients = 0;

  private constructor(seed: number) {
    this.world = new SimulatedWorld({ seed });
    this.cluster = new SimulatedCluster(this.world, { nodes: 3 });
    for (const name of this.cluster.names) this.cluster.start(name);
    onTestFinished(() => {
      expect(this.cluster.failures).toEqual([]);
      for (const name of this.cluster.names) this.cluster.kill(name, "stays");
    });
  }

  static async open(seed: number): Promise<Stage> {
    const stage = new Stage(seed);
    expect(await stage.cluster.ready(), stage.cluster.failures.join("; ")).toBe(true);
    return stage;
  }

  get now(): number {
    return this.world.clock.now();
  }

  async client(): Promise<{ readonly client: Client; readonly host: Host }> {
    const name = `client${this.#clients++}`;
    const urls = this.cluster.names.map((each) => SimulatedCluster.clientUrl(each));
    const client = await simulatedClient(this.world, name, urls);
    onTestFinished(() => client.close());
    return { client, host: this.world.host(name) };
  }

  settle<T>(promise: Promise<T>): Promise<T> {
    return this.world.settle(promise);
  }

  failure(promise: Promise<unknown>): Promise<StoreError> {
    return this.world.settle(failure(promise));
  }
}
