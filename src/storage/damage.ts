/** How storage says that it found damage: what, where, and what to do. */
import { type ErrorCode, type ErrorDetails, StoreError } from "../base/errors.ts";

const REMEDY =
  "This member must not go on with less than it promised: remove it from the cluster, delete its data directory and add it as a new member";

export function walCorrupt(what: string, details: ErrorDetails = {}, cause?: unknown): StoreError {
  return new StoreError("WAL_CORRUPT", {
    message: `quorate: the write-ahead log is damaged: ${what}. ${REMEDY}`,
    details,
    cause,
  });
}

export function stateCorrupt(what: string, details: ErrorDetails = {}, cause?: unknown): StoreError {
  return new StoreError("STATE_CORRUPT", {
    message: `quorate: the state database is damaged: ${what}. ${REMEDY}`,
    details,
    cause,
  });
}

export function tooNew(what: string, version: number, known: number): StoreError {
  return new StoreError("FORMAT_TOO_NEW", {
    message: `quorate: the data was written by a newer version: ${what} has format ${version}, this program knows up to ${known}. Start the newer version again`,
    details: { version, known },
  });
}

/** The disk found something missing or unreadable: that is damage here. Another failure of the disk stays what it is. */
export function asDamage(error: unknown, corrupt: typeof walCorrupt, where: string): unknown {
  if (!StoreError.is(error, "DISK_FAILED")) return error;
  const reason = error.details.reason;
  return reason === "missing" || reason === "damaged" ? corrupt(`${where}: ${error.message}`, {}, error) : error;
}

export function isCode(error: unknown, ...codes: readonly ErrorCode[]): boolean {
  return StoreError.is(error) && codes.includes(error.code);
}
