/** Reads a transaction from stdin, with prompts if asked; its grammar is `txn-parser.ts`'s. */
import { createInterface } from "node:readline/promises";
import { decodeUtf8 } from "../base/bytes.ts";
import type { TxnRequest } from "../protocol/requests.ts";
import { fail } from "./exit.ts";
import { readStdin } from "./globals.ts";
import { parseTxn } from "./txn-parser.ts";

const PROMPTS = ["compares:", "success requests (get, put, del):", "failure requests (get, put, del):"];

export async function readTxn(interactive: boolean): Promise<TxnRequest> {
  const text = interactive ? await ask() : decodeUtf8(await readStdin());
  try {
    return parseTxn(text);
  } catch (error) {
    return fail("invalidInput", (error as Error).message);
  }
}

/** Three blocks, each ended by an empty line. */
async function ask(): Promise<string> {
  const input = createInterface({ input: process.stdin });
  let text = "";
  let block = 0;
  process.stdout.write(`${PROMPTS[0]}\n`);
  for await (const line of input) {
    text += `${line}\n`;
    if (line !== "") continue;
    block += 1;
    if (block === PROMPTS.length) break;
    process.stdout.write(`${PROMPTS[block]}\n`);
  }
  input.close();
  return text;
}
