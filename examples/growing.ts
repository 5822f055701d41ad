/** One member inside a program grows to a cluster of three without stopping. Usually each has a machine of its own. */
import { setTimeout as delay } from "node:timers/promises";
import { Node, StoreError } from "quorate";

const port = Number(process.argv[2] ?? 7500);
const address = (n: number) => `ws://127.0.0.1:${port + n}`;

const first = await Node.open({ name: "n1", listenClientUrl: address(0), listenPeerUrl: address(1) });
const client = first.client();
await client.put("greeting", "hello");

const joined: Node[] = [];
for (const [name, n] of [
  ["n2", 2],
  ["n3", 4],
] as const) {
  // A cluster grows one member at a time: the next may come once the last is known to be well.
  while (!(await added(address(n + 1)))) await delay(100);
  const join = { endpoints: [address(0)] };
  joined.push(await Node.open({ name, listenClientUrl: address(n), listenPeerUrl: address(n + 1), join }));
  console.log(`${(await client.members.list()).members.length} members`);
}

await first.close();
const { kvs } = await joined[1]!.client().get("greeting");
console.log(`without the first: ${kvs[0]?.text()}`);
for (const node of joined) await node.close();

async function added(peerUrl: string): Promise<boolean> {
  try {
    await client.members.add([peerUrl]);
    return true;
  } catch (error) {
    if (StoreError.is(error, "UNHEALTHY") || StoreError.is(error, "MEMBER_NOT_ENOUGH_STARTED")) return false;
    throw error;
  }
}
