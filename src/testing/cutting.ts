/** A connection that somebody cuts at the worst moments: each leaves the client with another kind of doubt. */
import type { Connection } from "../transport/network.ts";

/**
 * "before sending": the other side never hears of it. "after sending": it does, and its answer is lost. "before
 * receiving": the answer was on its way already.
 */
export type CutMoment = "before sending" | "after sending" | "before receiving";

/** The same connection, but it ends where `strikes` says so. */
export function cutting(connection: Connection, strikes: (moment: CutMoment) => boolean): Connection {
  let isCut = false;
  const cut = (): void => {
    isCut = true;
    connection.close("cut by a fault");
  };
  const whole: Connection = {
    get remote() {
      return connection.remote;
    },
    get bufferedBytes() {
      return connection.bufferedBytes;
    },
    send(frame) {
      if (isCut) return;
      if (strikes("before sending")) {
        cut();
        return;
      }
      connection.send(frame);
      if (strikes("after sending")) cut();
    },
    close: (reason) => connection.close(reason),
    trust: () => connection.trust?.(),
    onFrame() {},
    onClose() {},
  };
  connection.onFrame = (frame) => {
    if (isCut) return;
    if (strikes("before receiving")) cut();
    else whole.onFrame(frame);
  };
  connection.onClose = (reason) => whole.onClose(reason);
  return whole;
}
