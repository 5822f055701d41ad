import { DISKS } from "../support/disks.ts";
import { walSuite } from "./wal.ts";

for (const [name, create] of DISKS) walSuite(name, create);
