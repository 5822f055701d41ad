/** The load of `bench/etcd-load` for quorate, through the client that is shipped: the build, run as users run it. */
import type { LeaseId } from "../src/base/ids.ts";
import { generateLoad } from "./support/closed-loop.ts";

const { compare, connect, op } = (await import(
  new URL("../dist/index.js", import.meta.url).href
)) as typeof import("../src/index.ts");

const CALL = { timeoutMs: 30_000 };
const SERIALIZABLE = { ...CALL, serializable: true };

await generateLoad(async (endpoints) => {
  const client = await connect({ endpoints });
  return {
    put: (key, value) => client.put(key, value, CALL),
    get: (key, serializable) => client.get(key, serializable ? SERIALIZABLE : CALL),
    range: (start, end) => client.get(start, { ...CALL, rangeEnd: end }),
    putIf: async (key, revision, value) => {
      const { succeeded, header } = await client
        .txn(CALL)
        .if(compare.modRevision(key, "=", revision))
        .then(op.put(key, value))
        .else(op.get(key))
        .commit();
      if (!succeeded) throw new Error("another wrote the key");
      return header.revision;
    },
    grant: async (ttl) => (await client.lease.grant(ttl, CALL)).id,
    keepAlive: (lease) => client.lease.keepAliveOnce(lease as LeaseId, CALL),
    watch: async (key, onPut) => {
      const watch = client.watch(key);
      await watch.opened();
      void (async () => {
        for await (const { events } of watch) for (let i = 0; i < events.length; i++) onPut();
      })();
    },
    close: () => client.close(),
  };
});
process.exit(0);
