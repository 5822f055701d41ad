/** What the compiler promises to whoever uses the API. Nothing runs here: `npm run typecheck` is the test. */
import * as v from "valibot";
import { expectTypeOf, test } from "vitest";
import {
  type Client,
  type ConfigUpdate,
  type ConfigWatcher,
  compare,
  type Election,
  type Mutex,
  op,
  type Revision,
  type StandardSchemaV1,
  type StoreError,
  stm,
  ConfigWatcher as Watcher,
} from "../../src/index.ts";
import type { Compare } from "../../src/protocol/requests.ts";

declare const client: Client;

test("a ConfigWatcher is typed by its schema", () => {
  const schema = v.object({ enabled: v.boolean(), percentage: v.optional(v.number(), 0) });
  const open = () => Watcher.open(client, "flags", schema);
  type Flags = { enabled: boolean; percentage: number };
  expectTypeOf(open).returns.resolves.toEqualTypeOf<ConfigWatcher<Flags>>();
  expectTypeOf<ConfigWatcher<Flags>["current"]>().toEqualTypeOf<Flags | undefined>();
  expectTypeOf<ConfigWatcher<Flags>["updates"]>().returns.toEqualTypeOf<AsyncIterableIterator<ConfigUpdate<Flags>>>();
  // What goes in may differ from what comes out.
  expectTypeOf(schema).toExtend<StandardSchemaV1<unknown, Flags>>();
});

test("or by its function, synchronous or not", () => {
  const one = () => Watcher.open(client, "n", (value: unknown) => Number(value));
  const two = () => Watcher.open(client, "n", async (value: unknown) => String(value));
  expectTypeOf(one).returns.resolves.toEqualTypeOf<ConfigWatcher<number>>();
  expectTypeOf(two).returns.resolves.toEqualTypeOf<ConfigWatcher<string>>();
  // @ts-expect-error a key is text or bytes
  void (() => Watcher.open(client, 5, Number));
  // @ts-expect-error what validates nothing is no validator
  void (() => Watcher.open(client, "n", {}));
});

test("an update is told apart by its kind", () => {
  type Update = ConfigUpdate<number>;
  expectTypeOf<Extract<Update, { kind: "value" }>["value"]>().toEqualTypeOf<number>();
  expectTypeOf<Extract<Update, { kind: "invalid" }>["error"]>().toEqualTypeOf<StoreError>();
  expectTypeOf<Extract<Update, { kind: "absent" }>>().not.toHaveProperty("value");
});

test("a txn's results are typed by its operations, branch by branch", () => {
  const commit = () =>
    client
      .txn()
      .if(compare.version("a", "=", 0))
      .then(op.put("a", "1"), op.get("b"))
      .else(op.delete("c"))
      .commit();
  type Outcome = Awaited<ReturnType<typeof commit>>;
  type Then = Extract<Outcome, { succeeded: true }>["results"];
  type Else = Extract<Outcome, { succeeded: false }>["results"];
  expectTypeOf<Then["length"]>().toEqualTypeOf<2>();
  expectTypeOf<Then[0]["kind"]>().toEqualTypeOf<"put">();
  expectTypeOf<Then[1]["kind"]>().toEqualTypeOf<"get">();
  expectTypeOf<Else["length"]>().toEqualTypeOf<1>();
  expectTypeOf<Else[0]["kind"]>().toEqualTypeOf<"delete">();
});

test("tokens, conditions and results of recipes", () => {
  expectTypeOf<Mutex["token"]>().toEqualTypeOf<Revision | undefined>();
  expectTypeOf<ReturnType<Mutex["isOwner"]>>().toEqualTypeOf<Compare>();
  expectTypeOf<ReturnType<Election["isLeader"]>>().toEqualTypeOf<ReturnType<Mutex["isOwner"]>>();
  expectTypeOf(() => stm(client, async () => 5))
    .returns.resolves.toHaveProperty("result")
    .toEqualTypeOf<number>();
});
