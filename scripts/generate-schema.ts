/** Writes schema/cluster.config.schema.json from the schema in src/cli/config.ts. test/cli/config.test.ts holds them equal. */
import { writeFileSync } from "node:fs";
import { toJsonSchema } from "@valibot/to-json-schema";
import { ClusterConfigSchema } from "../src/cli/config.ts";

export function clusterConfigJsonSchema(): object {
  return { $schema: "http://json-schema.org/draft-07/schema#", ...toJsonSchema(ClusterConfigSchema) };
}

export const SCHEMA_FILE: URL = new URL("../schema/cluster.config.schema.json", import.meta.url);

if (process.argv[1] !== undefined && import.meta.url === new URL(`file://${process.argv[1]}`).href) {
  writeFileSync(SCHEMA_FILE, `${JSON.stringify(clusterConfigJsonSchema(), null, 2)}\n`);
  console.error(`wrote ${SCHEMA_FILE.pathname}`);
}
