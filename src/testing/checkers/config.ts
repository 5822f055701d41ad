/** What a ConfigWatcher promises: only what was written, forwards only, invalid values told as such, and the newest at the end. */
import { OK, type Verdict, violation } from "./verdict.ts";

/** What was written: text, or `undefined` for a deletion. `revision` is unknown where the answer was. */
export interface ConfigWrite {
  readonly revision: number | undefined;
  readonly text: string | undefined;
}

export interface ConfigSight {
  readonly kind: "value" | "invalid" | "absent";
  readonly revision: number;
  /** Of a value: its text, as it was written. */
  readonly text?: string | undefined;
}

export interface ConfigRecord {
  readonly name: string;
  readonly seen: readonly ConfigSight[];
  /** The text of `current` at the end. */
  readonly current: string | undefined;
}

export interface ConfigCheckOptions {
  readonly isValid: (text: string) => boolean;
  /** The newest valid value at the end. */
  readonly newest: string;
  /** The newest write of all was not valid. */
  readonly endsInvalid: boolean;
}

export function checkConfig(
  records: readonly ConfigRecord[],
  writes: readonly ConfigWrite[],
  options: ConfigCheckOptions,
): Readonly<Record<string, Verdict>> {
  const verdict = (check: (record: ConfigRecord) => string | undefined): Verdict => {
    const broken = records.flatMap((record) => {
      const why = check(record);
      return why === undefined ? [] : [`${record.name}: ${why}`];
    });
    return broken.length === 0 ? OK : violation(broken.join("; "));
  };
  const at = new Map(
    writes.flatMap((write) => (write.revision === undefined ? [] : [[write.revision, write] as const])),
  );
  const uncertain = writes.filter(({ revision }) => revision === undefined);
  const texts = new Set(uncertain.map(({ text }) => text));
  return {
    "configs tell what was written": verdict(({ seen }) => {
      for (const { kind, revision, text } of seen) {
        const write = at.get(revision);
        // Absent is also told where the newest that is known is a later moment than the deletion.
        if (kind === "absent") continue;
        const known = write === undefined ? undefined : write.text;
        if (kind === "value") {
          if (text === undefined || !options.isValid(text)) return `told ${text}, which is not valid, as a value`;
          if (write === undefined ? !texts.has(text) : known !== text)
            return `told ${text} of revision ${revision}, where ${known} was written`;
        } else if (write !== undefined && (known === undefined || options.isValid(known))) {
          return `told that ${known} of revision ${revision} is invalid`;
        }
      }
      return undefined;
    }),
    "configs go forwards": verdict(({ seen }) => {
      let last = 0;
      for (const { kind, revision } of seen) {
        if (revision <= last) return `told ${kind} of revision ${revision} after revision ${last}`;
        last = revision;
      }
      return undefined;
    }),
    "configs end on the newest": verdict(({ seen, current }) => {
      if (current !== options.newest) return `ends on ${current}, not on ${options.newest}`;
      const last = seen.at(-1)?.kind;
      if (last !== (options.endsInvalid ? "invalid" : "value")) return `was told ${last} last`;
      return undefined;
    }),
  };
}
