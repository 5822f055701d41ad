/** The floor that this machine lays under each part of a put, measured part by part. */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, fdatasyncSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { Level } from "level";
import WebSocket from "ws";
import { encodeUtf8 } from "../../src/base/bytes.ts";
import { memberId } from "../../src/base/ids.ts";
import { decodeEnvelope, encodeEnvelope } from "../../src/machine/envelope-codec.ts";
import { decodeRequest, encodeRequest } from "../../src/protocol/codec.ts";
import type { PutRequest } from "../../src/protocol/requests.ts";
import { directoryKeyOf, keyOf } from "../support/keys.ts";

export interface Floor {
  readonly what: string;
  /** Microseconds for each, in the middle of all. */
  readonly us: number;
  /** Where one time does many. */
  readonly perSecond: number;
}

const RECORD_BYTES = 300;
const FRAME_BYTES = 300;

/** Repeats for so long; the mean of what lies between the quartiles, for the rest is what the machine did beside. */
export async function timed(seconds: number, once: () => unknown, asynchronous: boolean): Promise<number> {
  const took: number[] = [];
  for (const end = performance.now() + seconds * 1_000; performance.now() < end; ) {
    const begun = performance.now();
    if (asynchronous) await once();
    else once();
    took.push(performance.now() - begun);
  }
  const sorted = took.sort((a, b) => a - b);
  const middle = sorted.slice(sorted.length >> 2, Math.max(1, (sorted.length * 3) >> 2));
  return (middle.reduce((sum, ms) => sum + ms, 0) / middle.length) * 1_000;
}

export async function syncedBatches(dir: string, seconds: number): Promise<Floor[]> {
  const db = new Level<Uint8Array, Uint8Array>(join(dir, "batches"), { keyEncoding: "view", valueEncoding: "view" });
  await db.open({ compression: false, writeBufferSize: 8 << 20 } as object);
  const floors: Floor[] = [];
  let next = 0;
  for (const size of [1, 30, 300]) {
    const value = new Uint8Array(RECORD_BYTES).fill(7);
    const us = await timed(
      seconds,
      () => {
        const batch = Array.from({ length: size }, () => ({
          type: "put" as const,
          key: encodeUtf8(directoryKeyOf(next++)),
          value,
        }));
        return db.batch(batch, { sync: true } as object);
      },
      true,
    );
    floors.push({
      what: `LevelDB, synchronous batch of ${size} x ${RECORD_BYTES} B`,
      us,
      perSecond: (1e6 / us) * size,
    });
  }
  await db.close();
  return floors;
}

export async function fdatasync(dir: string, seconds: number): Promise<Floor> {
  const file = openSync(join(dir, "fdatasync"), "w");
  const bytes = new Uint8Array(4_096);
  const us = await timed(
    seconds,
    () => {
      writeSync(file, bytes);
      fdatasyncSync(file);
    },
    false,
  );
  closeSync(file);
  return { what: "fdatasync after 4 KiB appended", us, perSecond: 1e6 / us };
}

const ECHO = `
import { WebSocketServer } from "ws";
const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: false });
server.on("listening", () => process.send(server.address().port));
server.on("connection", (socket) => socket.on("message", (data) => socket.send(data)));
`;

/** Another process, so both sides cost what they cost. */
export async function roundTrips(seconds: number, run: (child: ChildProcess) => void): Promise<Floor[]> {
  const child = spawn(process.execPath, ["--input-type=module", "-e", ECHO], {
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  run(child);
  const port = await new Promise<number>((resolve) => child.once("message", (message) => resolve(message as number)));
  const socket = new WebSocket(`ws://127.0.0.1:${port}`, {
    perMessageDeflate: false,
    generateMask: (mask) => mask.fill(0),
  });
  await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
  const frame = new Uint8Array(FRAME_BYTES);
  const floors: Floor[] = [];
  for (const inFlight of [1, 64]) {
    let count = 0;
    const begun = performance.now();
    const end = begun + seconds * 1_000;
    await new Promise<void>((resolve) => {
      let under = inFlight;
      socket.removeAllListeners("message");
      socket.on("message", () => {
        count += 1;
        if (performance.now() < end) socket.send(frame);
        else if ((under -= 1) === 0) resolve();
      });
      for (let i = 0; i < inFlight; i++) socket.send(frame);
    });
    const us = ((performance.now() - begun) * 1_000) / count;
    floors.push({ what: `ws round trip of ${FRAME_BYTES} B, ${inFlight} in flight`, us, perSecond: 1e6 / us });
  }
  socket.terminate();
  child.kill("SIGKILL");
  return floors;
}

const CALLS = 1_000;

export async function codecs(seconds: number): Promise<Floor[]> {
  const request: PutRequest = { kind: "put", key: encodeUtf8(keyOf(1)), value: new Uint8Array(256).fill(7) };
  const envelope = {
    ...{ proposer: memberId(1n), incarnation: 1, ref: 1, clientId: 1, sequence: 1, lowestUnacknowledged: 1 },
    command: request,
  };
  const [wire, entry] = [encodeRequest(request), encodeEnvelope(envelope)];
  const each: readonly (readonly [string, () => unknown])[] = [
    ["request: encode a put of 256 B", () => encodeRequest(request)],
    ["request: decode it", () => decodeRequest(wire)],
    ["log entry: encode it", () => encodeEnvelope(envelope)],
    ["log entry: decode it", () => decodeEnvelope(entry)],
  ];
  const floors: Floor[] = [];
  for (const [what, call] of each) {
    const thousand = (): void => {
      for (let i = 0; i < CALLS; i++) call();
    };
    const us = (await timed(seconds, thousand, false)) / CALLS;
    floors.push({ what, us, perSecond: 1e6 / us });
  }
  return floors;
}
