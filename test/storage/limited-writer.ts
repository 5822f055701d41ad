/**
 * A process of its own that appends and flushes until the disk refuses, and says on stdout what was acknowledged: run by
 * failed-writes.test.ts under a limit on the size of files.
 */
import { StoreError } from "../../src/base/errors.ts";
import { NodeDisk } from "../../src/platform/node/disk.ts";
import { at, create, open, run } from "./member.ts";

// Without a handler the limit ends the process; with one, the write fails.
process.on("SIGXFSZ", () => {});

const codeOf = (error: unknown): string => (StoreError.is(error) ? error.code : String(error));

const [root, what] = process.argv.slice(2);
const disk = new NodeDisk(root!);
let acknowledged = 0;
let failure = "none";
let later = "none";
await create(disk);
const dir = await open(disk);
try {
  for (let index = 1; index <= 5_000; index++) {
    await run(dir, index, index);
    acknowledged = index;
    if (what === "state" && index % 20 === 0) {
      dir.state.write(Uint8Array.of(2, 99), new Uint8Array(40_000).fill(index));
      await dir.state.flush(at(index, 1));
    }
  }
} catch (error) {
  failure = codeOf(error);
}
try {
  if (what === "state") await dir.state.flush(at(acknowledged, 1));
  else await run(dir, acknowledged + 1, acknowledged + 1);
} catch (error) {
  later = codeOf(error);
}
await dir.close().catch(() => {});
process.stdout.write(JSON.stringify({ acknowledged, failure, later }));
