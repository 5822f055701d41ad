/** Tells the others this member's name and addresses, once they differ from what is recorded. */
import type { MemberId } from "../base/ids.ts";
import type { PublishCommand } from "../machine/command.ts";
import type { Clock } from "../platform/clock.ts";
import type { Member } from "../protocol/key-value.ts";

const ATTEMPT_MS = 5_000;

export interface PublisherOptions {
  readonly self: MemberId;
  readonly name: string;
  readonly clock: Clock;
  readonly againMs: number;
  readonly members: () => readonly Member[];
  /** It runs, and knows a leader. */
  readonly mayPublish: () => boolean;
  /** `undefined` while it does not listen for clients yet; none if it never will. */
  readonly clientUrls: () => readonly string[] | undefined;
  /** Set where the address is this member's own affair: whoever joins must find it. */
  readonly peerUrl: () => string | undefined;
  readonly updatePeerUrl: (peerUrl: string, deadline: number) => Promise<unknown>;
  readonly propose: (command: PublishCommand, deadline: number) => Promise<unknown>;
}

export class Publisher {
  readonly #o: PublisherOptions;
  #busy = false;

  constructor(options: PublisherOptions) {
    this.#o = options;
  }

  /** Call it when a leader is known, and when this member's addresses are. */
  publish(): void {
    const { self, name, clock, members, mayPublish, clientUrls, peerUrl, updatePeerUrl, propose } = this.#o;
    if (this.#busy || !mayPublish()) return;
    const mine = members().find(({ id }) => id === self);
    if (mine === undefined) return;
    const deadline = clock.now() + ATTEMPT_MS;
    const ownUrl = peerUrl();
    if (ownUrl !== undefined && !mine.peerUrls.includes(ownUrl)) {
      // It was given port 0, or another address than at its last start.
      this.#goOn(updatePeerUrl(ownUrl, deadline));
      return;
    }
    const urls = clientUrls();
    if (mine.name === name && (urls === undefined || urls.length === 0 || sameList(mine.clientUrls, urls))) return;
    if (urls !== undefined) this.#goOn(propose({ kind: "memberPublish", id: self, name, clientUrls: urls }, deadline));
  }

  /** Whatever came of it, what is recorded is looked at again. */
  #goOn(attempt: Promise<unknown>): void {
    this.#busy = true;
    const again = (): void => {
      this.#busy = false;
      this.#o.clock.after(this.#o.againMs, () => this.publish());
    };
    attempt.then(again, again);
  }
}

function sameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((item, i) => item === b[i]);
}
