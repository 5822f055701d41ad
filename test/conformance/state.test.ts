import { DISKS } from "../support/disks.ts";
import { stateSuite } from "./state.ts";

for (const [name, create] of DISKS) stateSuite(name, create);
