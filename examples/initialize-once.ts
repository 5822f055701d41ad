/** Ten processes start together; one of them initializes, the others wait until it has. */
import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { connect, initializeOnce, op } from "quorate";

const endpoints = (process.env.QUORATE_ENDPOINTS ?? "127.0.0.1:7400").split(",");

if (process.send === undefined) {
  const codes = await Promise.all(
    Array.from({ length: 10 }, () => {
      const child = fork(fileURLToPath(import.meta.url));
      return new Promise<number | null>((resolve) => child.once("exit", resolve));
    }),
  );
  await using client = await connect({ endpoints });
  const { kvs } = await client.get("example/initialized");
  console.log(
    `${codes.length} processes, ${kvs[0]?.version} initialization, all done: ${codes.every((code) => code === 0)}`,
  );
} else {
  await using client = await connect({ endpoints });
  await initializeOnce(client, "example/setup", async ({ isOwner }) => {
    // Guarded: a process that was stopped in here and goes on too late writes nothing.
    await client
      .txn()
      .if(isOwner())
      .then(op.put("example/initialized", String(process.pid)))
      .commit();
  });
  process.disconnect();
}
