/** Single files beside the data directories: what people name on the command line. */
import { createReadStream } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { StoreError } from "../../base/errors.ts";

const READ_BYTES = 256 << 10;

/** A file's bytes, in pieces. Throws `DISK_FAILED`. */
export async function* readFilePieces(path: string): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    for await (const piece of createReadStream(path, { highWaterMark: READ_BYTES })) {
      const { buffer, byteOffset, byteLength } = piece as Buffer;
      yield new Uint8Array(buffer, byteOffset, byteLength);
    }
  } catch (error) {
    throw named(error, "reading", path);
  }
}

/**
 * Writes `<path>.part`, makes it durable, has it checked, and only then gives it its name, in place of what was there. If
 * anything fails nothing of it is left, and what had the name still has it.
 */
export async function writeFileWhole(
  path: string,
  pieces: AsyncIterable<Uint8Array>,
  check: (part: string) => Promise<void>,
): Promise<void> {
  const part = `${path}.part`;
  try {
    const file = await open(part, "w");
    try {
      for await (const piece of pieces) await file.writeFile(piece);
      await file.sync();
    } finally {
      await file.close();
    }
    await check(part);
    await rename(part, path);
  } catch (error) {
    await rm(part, { force: true }).catch(() => {});
    throw named(error, "writing", path);
  }
  const directory = await open(dirname(resolve(path)), "r");
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

function named(error: unknown, what: string, path: string): unknown {
  const { code, message } = error as NodeJS.ErrnoException;
  if (!(error instanceof Error) || StoreError.is(error) || code === undefined) return error;
  return new StoreError(code === "ENOSPC" || code === "EDQUOT" ? "DISK_FULL" : "DISK_FAILED", {
    cause: error,
    message: `quorate: ${what} ${path} failed: ${message}`,
    details: { path },
  });
}
