import { DISKS } from "../support/disks.ts";
import { diskSuite } from "./disk.ts";

for (const [name, create] of DISKS) diskSuite(name, create);
