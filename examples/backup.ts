import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Node, restoreSnapshot, saveSnapshot, snapshotStatus } from "quorate";

const dir = await mkdtemp(join(tmpdir(), "quorate-backup-"));
const file = join(dir, "backup.snap");

// Any client can take one: of a running cluster (`connect`) or of a member in this process.
await using node = await Node.open({});
await node.client().put("greeting", "hello");
await saveSnapshot(node.client(), file);
console.log("saved revision", (await snapshotStatus(file)).revision);

// A new directory for a new member; the revision moves on, so that nobody mistakes it for the old one.
const { revision } = await restoreSnapshot({ file, dir: join(dir, "restored") });
await using restored = await Node.open({ dir: join(dir, "restored") });
const { kvs } = await restored.client().get("greeting");
console.log("restored", kvs[0]?.text(), "at revision", revision);

await restored.close();
await rm(dir, { recursive: true });
