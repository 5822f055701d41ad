/**
 * Many messages in one frame. A socket's cost is per frame, not per byte, so whatever is ready to leave together leaves
 * together.
 *
 *   frame   := message*
 *   message := length (4 bytes, big endian) bytes
 */
import { viewOf } from "../base/bytes.ts";

/** Bytes that a message costs beside its own. */
export const MESSAGE_OVERHEAD = 4;

export function encodeFrame(messages: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const message of messages) length += MESSAGE_OVERHEAD + message.length;
  const frame = new Uint8Array(length);
  const view = viewOf(frame);
  let at = 0;
  for (const message of messages) {
    view.setUint32(at, message.length);
    frame.set(message, at + MESSAGE_OVERHEAD);
    at += MESSAGE_OVERHEAD + message.length;
  }
  return frame;
}

/**
 * Calls `onMessage` for each message, in order, with a view that is valid as long as the frame is. Throws `RangeError`
 * where the frame is cut short; the messages before that place were delivered.
 */
export function decodeFrame(frame: Uint8Array, onMessage: (message: Uint8Array) => void): void {
  const view = viewOf(frame);
  let at = 0;
  while (at < frame.length) {
    if (frame.length - at < MESSAGE_OVERHEAD) throw new RangeError("frame ends inside a length");
    const start = at + MESSAGE_OVERHEAD;
    const end = start + view.getUint32(at);
    if (end > frame.length) throw new RangeError("frame ends inside a message");
    onMessage(frame.subarray(start, end));
    at = end;
  }
}
