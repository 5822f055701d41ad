/** The table of commands, apart from `main.ts` so that a test can read it without running one. */
import { Command } from "commander";
import { registerAlarm } from "./commands/alarm.ts";
import { registerCheck } from "./commands/check.ts";
import { registerCluster } from "./commands/cluster.ts";
import { registerCompaction } from "./commands/compaction.ts";
import { registerDel } from "./commands/del.ts";
import { registerElect } from "./commands/elect.ts";
import { registerEndpoint } from "./commands/endpoint.ts";
import { registerGet } from "./commands/get.ts";
import { registerLease } from "./commands/lease.ts";
import { registerLock } from "./commands/lock.ts";
import { registerMember } from "./commands/member.ts";
import { registerMoveLeader } from "./commands/move-leader.ts";
import { registerPut } from "./commands/put.ts";
import { registerServer } from "./commands/server.ts";
import { registerSnapshot } from "./commands/snapshot.ts";
import { registerTxn } from "./commands/txn.ts";
import { registerVersion } from "./commands/version.ts";
import { registerWatch } from "./commands/watch.ts";
import { addGlobalOptions } from "./globals.ts";

/** Each file holds its command's words; what a command needs to run is imported when it runs. */
export function buildProgram(): Command {
  const program = new Command("quorate")
    .description("A strongly consistent key-value store with etcd's semantics, embedded in Node.js.")
    .exitOverride()
    .configureOutput({ outputError: () => {} }) // printed below, in our own form
    .addHelpText(
      "after",
      "\nExample:\n  $ quorate cluster        # three members on this machine\n  $ quorate put greeting hello\n  $ quorate get greeting",
    );
  addGlobalOptions(program);
  registerCluster(program);
  registerServer(program);
  registerPut(program);
  registerGet(program);
  registerDel(program);
  registerTxn(program);
  registerWatch(program);
  registerCompaction(program);
  registerLease(program);
  registerLock(program);
  registerElect(program);
  registerMember(program);
  registerMoveLeader(program);
  registerEndpoint(program);
  registerSnapshot(program);
  registerCheck(program);
  registerAlarm(program);
  registerVersion(program);
  return program;
}
