/** `leader-election.ts NAME`: run it several times; one works at a time. Ctrl-C steps down. */
import { setTimeout as delay } from "node:timers/promises";
import { connect, Election, op, Session, StoreError } from "quorate";

const name = process.argv[2] ?? `process ${process.pid}`;
const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stop.abort());

await using client = await connect({ endpoints: (process.env.QUORATE_ENDPOINTS ?? "127.0.0.1:7400").split(",") });

while (!stop.signal.aborted) {
  await using session = await Session.open(client, { ttl: 5 });
  const election = new Election(session, "example/leader");
  try {
    await election.campaign(name, { signal: stop.signal });
    console.log(`${name} leads`);
    while (!stop.signal.aborted) {
      session.assertHeld(); // throws once the session is lost
      // Guarded: should another lead by now, nothing is written.
      const work = await client.txn().if(election.isLeader()).then(op.put("example/worked", name)).commit();
      if (!work.succeeded) break;
      await delay(200, undefined, { signal: AbortSignal.any([stop.signal, session.signal]) }).catch(() => {});
    }
    if (stop.signal.aborted) await election.resign();
  } catch (error) {
    if (!StoreError.is(error, "SESSION_LOST") && !stop.signal.aborted) throw error;
  }
  console.log(`${name} leads no more`);
}
