import { connect } from "quorate";

const endpoints = (process.env.QUORATE_ENDPOINTS ?? "127.0.0.1:7400").split(",");
await using client = await connect({ endpoints });

const { leader, isLearner } = await client.status(endpoints[0]!);
console.log(`has a leader: ${leader !== undefined}, is a learner: ${isLearner}`);

// What hangs on the lease lives for 30 seconds, unless the lease is kept alive.
const lease = await client.lease.grant(30);
console.log(`lease granted for ${lease.ttl} s`);

const watch = client.watch("services/", { prefix: true });
await watch.opened();

await client.put("services/7", JSON.stringify({ host: "10.0.0.7", port: 80 }), { lease: lease.id });
const { kvs } = await client.get("services/", { prefix: true });
for (const kv of kvs) console.log("get", kv.keyText(), kv.json());

await client.lease.revoke(lease.id);

for await (const { events } of watch) {
  for (const { type, kv } of events) console.log(type, kv.keyText());
  if (events.some(({ type }) => type === "delete")) break;
}
