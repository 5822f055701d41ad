/** A member alone in a process of its own, for tests that look at it from outside: `DIR synced|unsynced`. Prints its client address. */
import type { Database, Disk } from "../../src/platform/disk.ts";
import { silent } from "../../src/platform/log.ts";
import { nodeWorld } from "../../src/platform/node/world.ts";
import { Server } from "../../src/server/server.ts";
import { WebSocketNetwork } from "../../src/transport/node/websocket.ts";

/** A disk that promises what it has not done: what the durability test must find out. */
function withoutSync(disk: Disk): Disk {
  return {
    openDatabase: async (path, options) => {
      const database = await disk.openDatabase(path, options);
      const careless: Database = {
        batch: (ops) => database.batch(ops, { sync: false }),
        writer: () => {
          const writer = database.writer();
          return {
            put: (key, value) => writer.put(key, value),
            del: (key) => writer.del(key),
            turn: () => writer.turn(),
            write: () => writer.write({ sync: false }),
            abandon: () => writer.abandon(),
          };
        },
        getSync: (key) => database.getSync(key),
        iterate: (range) => database.iterate(range),
        snapshot: () => database.snapshot(),
        clear: (range) => database.clear(range),
        sizeBytes: () => database.sizeBytes(),
        close: () => database.close(),
      };
      return careless;
    },
    openFile: (path, options) => disk.openFile(path, options),
    exists: (path) => disk.exists(path),
    list: (path) => disk.list(path),
    makeDirectory: (path) => disk.makeDirectory(path),
    remove: (path) => disk.remove(path),
    rename: (from, to) => disk.rename(from, to),
  };
}

const [dir = "", mode] = process.argv.slice(2);
const world = { ...nodeWorld({ dir, log: silent }), network: new WebSocketNetwork() };
const server = await Server.open(
  { ...world, disk: mode === "unsynced" ? withoutSync(world.disk) : world.disk },
  { name: "alone", bootstrap: { kind: "alone" }, listenClientUrl: "ws://127.0.0.1:0" },
);
process.stdout.write(`${server.clientUrl}\n`);
process.on("SIGTERM", () => void server.close());
