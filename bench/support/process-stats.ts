/** Memory and processor time of processes. Linux alone tells. */
import { readFileSync } from "node:fs";

/** Linux counts in hundredths. */
const TICKS_PER_SECOND = 100;

/** Resident memory. */
export function residentMb(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1024;
}

/** User and system time so far. */
export function cpuSeconds(pid: number): number {
  // The name, in brackets, may hold anything.
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}
