/** Reads a transaction from stdin, with prompts if asked; its grammar is `txn-parser.ts`'s. */
import { createInterface } from "node:readline/promises";
import { decodeUtf8 } from "../base/bytes.ts";
import type { TxnRequest } from "../protocol/requests.ts";
import { fail } from "./exit.ts";
import { readStdin } from "./globals.ts";
import { parseTxn, TxnBlocks } from "./txn-parser.ts";

const PROMPTS = ["compares:", "success requests (get, put, del):", "failure requests (get, put, del):"];

export async function readTxn(interactive: boolean): Promise<TxnRequest> {
  try {
    return interactive ? await ask() : parseTxn(decodeUtf8(await readStdin()));
  } catch (error) {
    return fail("invalidInput", (error as Error).message);
  }
}

/** Line by line: what is wrong is told at once, not after the last block. */
async function ask(): Promise<TxnRequest> {
  const input = createInterface({ input: process.stdin });
  try {
    const blocks = new TxnBlocks();
    process.stdout.write(`${PROMPTS[0]}\n`);
    for await (const line of input) {
      const before = blocks.ended;
      blocks.line(line);
      if (blocks.ended === PROMPTS.length) break;
      if (blocks.ended > before) process.stdout.write(`${PROMPTS[blocks.ended]}\n`);
    }
    return blocks.request();
  } finally {
    input.close();
  }
}
