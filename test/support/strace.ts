/** Reads a trace of system calls and tells whether an answer left before what it answers for was on stable storage. */

/** One system call of a trace by `strace -f -y`, at the moment it was entered or left. */
interface Call {
  readonly at: "enter" | "leave";
  readonly thread: string;
  readonly name: string;
  /** The arguments as strace prints them. */
  readonly text: string;
  readonly result: number;
}

/** A call that strace had to print in two halves becomes two events, in their places; any other enters and leaves at once. */
function* calls(trace: string): Generator<Call> {
  const open = new Map<string, { name: string; text: string }>();
  for (const line of trace.split("\n")) {
    const whole = /^(\d+) +(\w+)\((.*)\) += (-?\d+)/.exec(line);
    if (whole !== null) {
      const [, thread = "", name = "", text = "", result = ""] = whole;
      yield { at: "enter", thread, name, text, result: 0 };
      yield { at: "leave", thread, name, text, result: Number(result) };
      continue;
    }
    const first = /^(\d+) +(\w+)\((.*) <unfinished \.\.\.>$/.exec(line);
    if (first !== null) {
      const [, thread = "", name = "", text = ""] = first;
      open.set(thread, { name, text });
      yield { at: "enter", thread, name, text, result: 0 };
      continue;
    }
    const second = /^(\d+) +<\.\.\. (\w+) resumed>.* = (-?\d+)/.exec(line);
    if (second === null) continue;
    const [, thread = "", , result = ""] = second;
    const begun = open.get(thread);
    open.delete(thread);
    if (begun !== undefined) yield { at: "leave", thread, name: begun.name, text: begun.text, result: Number(result) };
  }
}

export interface Durability {
  /** Answers seen. */
  readonly answers: number;
  /** Answers that left while their record was on stable storage of fewer members than needed. */
  readonly early: readonly string[];
}

/**
 * For puts made one after the other to one key, put i with the value `marker-<i>-` and `prevKv`: the answer to put i
 * carries `marker-<i-1>-`, so it can be told from everything else, and its record carries `marker-<i>-`.
 * `needed`: how many members must have synced the record first.
 */
export function checkDurability(trace: string, needed: number): Durability {
  const written = new Map<string, Set<number>>();
  const syncing = new Map<string, ReadonlySet<number>>();
  const synced = new Map<number, Set<string>>();
  const answered = new Set<number>();
  const early: string[] = [];
  let newest = 0;
  for (const { at, thread, name, text, result } of calls(trace)) {
    const log = /^\d+<(.*)\/wal\/\d+\.log>/.exec(text)?.[1];
    const markers = [...text.matchAll(/marker-(\d+)-/g)].map((match) => Number(match[1]));
    if (log !== undefined) {
      if (name === "fdatasync" || name === "fsync") {
        if (at === "enter") syncing.set(thread, new Set(written.get(log) ?? []));
        else if (result === 0) {
          for (const marker of syncing.get(thread) ?? []) {
            const members = synced.get(marker) ?? new Set();
            synced.set(marker, members.add(log));
          }
        }
      } else if (at === "leave") {
        const all = written.get(log) ?? new Set();
        written.set(log, all);
        for (const marker of markers) {
          all.add(marker);
          newest = Math.max(newest, marker);
        }
      }
    } else if (at === "enter" && /^\d+<(socket|TCP)/.test(text)) {
      // Sent while a newer one was under way already: the answer to the newer one.
      for (const marker of markers) {
        const put = marker + 1;
        if (put > newest || answered.has(put)) continue;
        answered.add(put);
        const count = synced.get(put)?.size ?? 0;
        if (count < needed)
          early.push(`put ${put} was answered with its record synced by ${count} of ${needed} members`);
      }
    }
  }
  return { answers: answered.size, early };
}

export const TRACED_CALLS = "write,writev,pwrite64,sendto,sendmsg,fdatasync,fsync";
