/** `npm run test:etcd -- [--operations N] [--seed N [--path P]]`: the differential test alone, in the length wanted. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = fileURLToPath(new URL("../..", import.meta.url));
const { values } = parseArgs({
  options: { operations: { type: "string" }, seed: { type: "string" }, path: { type: "string" } },
});
const given = {
  QUORATE_ETCD_OPERATIONS: values.operations,
  QUORATE_SEED: values.seed,
  QUORATE_ETCD_PATH: values.path,
};
const vitest = ["node_modules/vitest/vitest.mjs", "run", "test/etcd/differential.test.ts", "--reporter=verbose"];
const { status } = spawnSync(process.execPath, vitest, {
  cwd: root,
  stdio: "inherit",
  env: { ...process.env, ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) },
});
process.exit(status ?? 1);
