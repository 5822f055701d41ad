/** `npm start`: the cluster of cluster.config.json. Plain JavaScript, because it must also speak before anything is built. */
import { existsSync } from "node:fs";

const main = new URL("../dist/cli/main.js", import.meta.url);
if (!existsSync(main)) {
  console.error("quorate is not built yet: run `npm run build`, then `npm start` again");
  process.exit(1);
}
// npm passes a signal on to its shell only, which dies of it without a word to us: an end of the parent is one too.
const parent = process.ppid;
setInterval(() => {
  if (process.ppid !== parent) process.kill(process.pid, "SIGTERM");
}, 250).unref();
process.argv.splice(2, 0, "cluster", "--config", "cluster.config.json");
await import(main.href);
