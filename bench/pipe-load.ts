/** The load of `bench/etcd-load` for the raw pipe (limit/pipe-member.ts): puts alone, all that wait for a turn in one frame. */
import { pack, unpack } from "msgpackr";
import WebSocket, { type RawData } from "ws";
import { generateLoad } from "./support/closed-loop.ts";

const putsOnly = (): Promise<never> => Promise.reject(new Error("the pipe knows puts alone"));

await generateLoad(async ([endpoint]) => {
  const socket = new WebSocket(`ws://${endpoint}`, { perMessageDeflate: false, generateMask: (mask) => mask.fill(0) });
  await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
  const waiting = new Map<number, () => void>();
  let queue: [number, string, Uint8Array][] = [];
  let last = 0;
  socket.on("message", (data: RawData) => {
    for (const id of unpack(data as Buffer) as number[]) {
      waiting.get(id)?.();
      waiting.delete(id);
    }
  });
  const flush = (): void => {
    socket.send(pack(queue));
    queue = [];
  };
  return {
    put: (key, value) =>
      new Promise<void>((resolve) => {
        const id = (last += 1);
        waiting.set(id, resolve);
        if (queue.length === 0) setImmediate(flush);
        queue.push([id, key, value.slice()]);
      }),
    get: putsOnly,
    range: putsOnly,
    putIf: putsOnly,
    close: async () => socket.terminate(),
  };
});
process.exit(0);
