/** How a command ends: etcdctl's exit codes, and the one line on stderr that goes with each. */
import { StoreError } from "../base/errors.ts";

export const EXIT = {
  ok: 0,
  error: 1,
  badConnection: 2,
  invalidInput: 3,
  badFeature: 4,
  interrupted: 5,
  io: 6,
  badArguments: 128,
  /** What a shell says of a program that SIGPIPE ended, as it ends etcdctl. */
  unread: 141,
} as const;

export type Exit = keyof typeof EXIT;

/** Ends the command with this line and code. Thrown, so that whatever is open gets closed on the way out. */
export class CommandError extends Error {
  override readonly name = "CommandError";
  readonly exit: Exit;

  constructor(exit: Exit, message: string) {
    super(message);
    this.exit = exit;
  }
}

export function fail(exit: Exit, message: string): never {
  throw new CommandError(exit, message);
}

/** Ends the command with a code of its own and no further line: everything was said already. */
export class Ended extends Error {
  override readonly name = "Ended";
  readonly exitCode: number;

  constructor(exitCode: number) {
    super(`ended with ${exitCode}`);
    this.exitCode = exitCode;
  }
}

export function exitCodeOf(error: unknown): number {
  if (error instanceof Ended) return error.exitCode;
  if (error instanceof CommandError) return EXIT[error.exit];
  if (StoreError.is(error)) {
    switch (error.code) {
      case "UNAVAILABLE":
      case "CONNECTION_LOST":
        return EXIT.badConnection;
      case "BAD_CONFIG":
        return EXIT.badArguments;
      case "DISK_FAILED":
      case "DISK_FULL":
        return EXIT.io;
      default:
        return EXIT.error;
    }
  }
  return EXIT.error;
}

/** What to do about it, where the error's own text does not say. */
const REMEDIES: Partial<Record<string, string>> = {
  UNAVAILABLE: "is a cluster running there? start one with `quorate cluster`, or name its members with --endpoints",
  ADDRESS_IN_USE: "stop what listens there, or choose other ports (`quorate cluster --base-port N`, 0 takes free ones)",
  DATA_DIR_IN_USE: "another process runs this member; stop it first, or give another --dir",
  DATA_DIR_MISMATCH: "give the directory that this member was started with, or another --dir",
};

/** The error as one line. Never a stack trace: those belong to the log. */
export function errorLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const remedy = StoreError.is(error) ? REMEDIES[error.code] : undefined;
  return `Error: ${text.replace(/\s*\n\s*/g, " ")}${remedy === undefined ? "" : ` (${remedy})`}`;
}
