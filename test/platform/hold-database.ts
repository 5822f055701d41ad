/** Opens a database, writes enough that LevelDB makes and drops tables, and holds it until it is killed. */
import { NodeDisk } from "../../src/platform/node/disk.ts";

const [root, path] = process.argv.slice(2);
const database = await new NodeDisk(root!).openDatabase(path!, { create: false, writeBufferBytes: 64 << 10 });
process.stdout.write("open\n");
for (let n = 0; ; n = (n + 1) % 500) {
  await database.batch([{ kind: "put", key: Uint8Array.of(n & 255, n >> 8), value: new Uint8Array(4_000).fill(n) }], {
    sync: false,
  });
}
