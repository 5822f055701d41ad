/** What figures were taken on: without it they mean nothing. */
import { cpus, totalmem } from "node:os";

export function machineLine(): string {
  const [first] = cpus();
  return `Node ${process.version}, ${first?.model ?? "unknown processor"}, ${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GB`;
}
