/**
 * One of three members of a raw pipe: what remains of a replicated put without Raft, revisions, checks or recovery. The first
 * takes frames of puts, writes each burst to LevelDB in one synchronous batch while the others do, and answers once two of the
 * three have it. So it is a sketch of the machine's limit, not a store: it loses data when the first member dies.
 */
import { parseArgs } from "node:util";
import { Level } from "level";
import { pack, unpack } from "msgpackr";
import WebSocket, { type RawData, WebSocketServer } from "ws";

const { values } = parseArgs({
  options: {
    index: { type: "string", default: "0" },
    ports: { type: "string", default: "" },
    dir: { type: "string", default: "" },
  },
});
const index = Number(values.index);
const ports = values.ports.split(",").map(Number);

const db = new Level<Buffer, Uint8Array>(values.dir, { keyEncoding: "buffer", valueEncoding: "view" });
await db.open({ compression: false, writeBufferSize: 8 << 20 } as object);
let batches = 0;

function write(frames: Uint8Array): Promise<void> {
  const key = Buffer.alloc(8);
  key.writeBigUInt64BE(BigInt((batches += 1)));
  return db.batch([{ type: "put", key, value: frames }], { sync: true } as object);
}

const server = new WebSocketServer({ host: "127.0.0.1", port: ports[index]!, perMessageDeflate: false });
if (index === 0) await lead();
else follow();

function follow(): void {
  server.on("connection", (socket) => {
    socket.on("message", async (data: RawData) => {
      const frame = data as Buffer;
      await write(frame.subarray(4));
      socket.send(frame.subarray(0, 4));
    });
  });
}

async function lead(): Promise<void> {
  const others = await Promise.all(ports.slice(1).map(dial));
  type Burst = { readonly answers: Map<WebSocket, number[]>; written: number };
  const underWay = new Map<number, Burst>();
  let waiting: [WebSocket, [id: number, key: string, value: Uint8Array][]][] = [];
  let sequence = 0;
  let writing = false;

  const settle = (id: number): void => {
    const burst = underWay.get(id);
    if (burst === undefined || ++burst.written < 2) return;
    underWay.delete(id);
    for (const [socket, ids] of burst.answers) socket.send(pack(ids));
  };
  const turn = async (): Promise<void> => {
    writing = true;
    while (waiting.length > 0) {
      const taken = waiting;
      waiting = [];
      const answers = new Map<WebSocket, number[]>();
      for (const [socket, puts] of taken) {
        const ids = answers.get(socket) ?? [];
        for (const [id] of puts) ids.push(id);
        answers.set(socket, ids);
      }
      const id = (sequence = (sequence + 1) >>> 0);
      underWay.set(id, { answers, written: 0 });
      const packed = pack(taken.map(([, puts]) => puts));
      const frame = Buffer.allocUnsafe(4 + packed.length);
      frame.writeUInt32BE(id);
      packed.copy(frame, 4);
      for (const other of others) other.send(frame);
      await write(packed);
      settle(id);
    }
    writing = false;
  };
  for (const other of others) other.on("message", (data: RawData) => settle((data as Buffer).readUInt32BE(0)));
  server.on("connection", (socket) => {
    socket.on("message", (data: RawData) => {
      waiting.push([socket, unpack(data as Buffer) as [number, string, Uint8Array][]]);
      if (!writing) void turn();
    });
  });
}

async function dial(port: number): Promise<WebSocket> {
  for (;;) {
    // A mask of zeros costs nothing on either side.
    const socket = new WebSocket(`ws://127.0.0.1:${port}`, {
      perMessageDeflate: false,
      generateMask: (mask) => mask.fill(0),
    });
    try {
      await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
      return socket;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
