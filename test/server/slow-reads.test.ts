/** A read that takes many turns ends when nobody waits for it any more, and lets go of the revision that it held. */
import { expect, onTestFinished, test } from "vitest";
import { encodeUtf8 } from "../../src/base/bytes.ts";
import type { CallOptions } from "../../src/protocol/channel.ts";
import type { PutRequest, Request } from "../../src/protocol/requests.ts";
import type { Response } from "../../src/protocol/responses.ts";
import { SimulatedCluster, SimulatedWorld } from "../../src/testing/index.ts";

const KEYS = 10_000;
const PUTS_PER_TXN = 100;
const all: Request = { kind: "range", key: encodeUtf8("k"), rangeEnd: encodeUtf8("l"), serializable: true };

async function member(): Promise<{
  readonly ask: (request: Request, call?: Partial<CallOptions>) => Promise<Response>;
  readonly begin: (request: Request, call?: Partial<CallOptions>) => Promise<unknown>;
  readonly world: SimulatedWorld;
}> {
  const world = new SimulatedWorld({ seed: 1 });
  const cluster = new SimulatedCluster(world, { nodes: 1 });
  cluster.start("n1");
  expect(await cluster.ready()).toBe(true);
  onTestFinished(() => cluster.kill("n1", "stays"));
  const handle = (request: Request, call: Partial<CallOptions> = {}): Promise<Response> =>
    cluster.server("n1")!.handle(request, { timeoutMs: 60_000, ...call });
  const ask = (request: Request, call?: Partial<CallOptions>): Promise<Response> => world.settle(handle(request, call));
  const put = (i: number): PutRequest => ({ kind: "put", key: encodeUtf8(`k${i}`), value: encodeUtf8("v") });
  for (let first = 0; first < KEYS; first += PUTS_PER_TXN) {
    const puts = Array.from({ length: PUTS_PER_TXN }, (_, i) => put(first + i));
    await ask({ kind: "txn", compare: [], success: puts, failure: [] });
  }
  return {
    world,
    ask,
    begin: (request, call) =>
      handle(request, call).then(
        ({ result }) => (result.kind === "range" ? result.count : result),
        (error: unknown) => error,
      ),
  };
}

test("it is answered whole to whoever waits", async () => {
  const { world, begin } = await member();
  expect(await world.settle(begin(all))).toBe(KEYS);
});

test("its caller's signal ends it between two turns", async () => {
  const { world, begin, ask } = await member();
  const stop = new AbortController();
  const reading = begin(all, { signal: stop.signal });
  stop.abort(new Error("enough"));
  expect(await world.settle(reading)).toMatchObject({ code: "CANCELLED", outcome: "rejected" });
  // A revision that somebody still held would keep this waiting.
  const at = (await ask({ kind: "put", key: encodeUtf8("k0"), value: encodeUtf8("w") })).header.revision;
  await ask({ kind: "compact", revision: at, physical: true });
});

test("its deadline ends it between two turns", async () => {
  const { world, begin, ask } = await member();
  // Time stands still while code runs, so the deadline has passed after the first turn, and not before.
  expect(await world.settle(begin(all, { timeoutMs: 0 }))).toMatchObject({ code: "TIMEOUT", outcome: "rejected" });
  const at = (await ask({ kind: "put", key: encodeUtf8("k0"), value: encodeUtf8("w") })).header.revision;
  await ask({ kind: "compact", revision: at, physical: true });
});
