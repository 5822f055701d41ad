import { DISKS } from "../support/disks.ts";
import { tailSuite } from "./tail.ts";

for (const [name, create] of DISKS) tailSuite(name, create);
