/** Bytes that a program is given are its own: whatever it does to them reaches nothing else. */
import { describe, expect, onTestFinished, test } from "vitest";
import { encodeUtf8 } from "../../src/base/bytes.ts";
import type { Client } from "../../src/client/client.ts";
import { connect } from "../../src/node/connect.ts";
import { Node } from "../../src/node/node.ts";

const WAYS = ["in process", "over a socket"] as const;

async function open(way: (typeof WAYS)[number]): Promise<Client> {
  const node = await Node.open(way === "in process" ? {} : { listenClientUrl: "ws://127.0.0.1:0" });
  onTestFinished(() => node.close({ handOver: false }));
  const client = way === "in process" ? node.client() : await connect({ endpoints: [node.clientUrl!] });
  onTestFinished(() => client.close());
  return client;
}

describe.each(WAYS)("what a program is given, %s", (way) => {
  test.each([
    ["a value", { serializable: true }],
    ["a value read through the leader", {}],
  ])("%s sent away to another thread takes nobody else's bytes with it", async (_, options) => {
    const client = await open(way);
    await client.put("a", "x".repeat(100));
    const [[kv], [other]] = [(await client.get("a", options)).kvs, (await client.get("a", options)).kvs];
    const key = new Uint8Array(100).fill(1);
    const value = new Uint8Array(100).fill(2);
    const written = client.put(key, value);
    for (const bytes of [kv!.value, kv!.key]) structuredClone(bytes, { transfer: [bytes.buffer as ArrayBuffer] });
    await written;
    const { kvs } = await client.get("\0", { rangeEnd: "\0" });
    expect(kvs.map((each) => [each.key, each.value])).toEqual([
      [key, value],
      [encodeUtf8("a"), encodeUtf8("x".repeat(100))],
    ]);
    expect(other!.text()).toBe("x".repeat(100));
  });

  test("a leader's value changed leaves the election as it is", async () => {
    const client = await open(way);
    await client.elections.campaign("e", "me");
    const { kv } = await client.elections.leader("e");
    kv.value.fill(0);
    kv.key.fill(0);
    expect((await client.elections.leader("e")).kv.text()).toBe("me");
    expect((await client.get("e/", { prefix: true })).kvs[0]!.text()).toBe("me");
  });
});
