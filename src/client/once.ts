/**
 * The client's half of exactly-once writes (design section 7): registrations, and the numbers of the writes under them.
 * A write keeps its number through every attempt, so the servers apply it once; when its call is over, whatever its end,
 * the number counts as acknowledged, and from the client's next write on the servers refuse what may still be under way
 * with it.
 *
 * One registration takes 1,024 numbers from its lowest open one on. One slow call therefore must not hold up the others:
 * where a registration is full, another one is taken.
 */
import type { OperationId } from "../protocol/channel.ts";

/** What the servers allow (machine/ledger.ts). */
const OPEN_MAX = 1_024;
/** As many calls as a channel takes. */
const REGISTRATIONS_MAX = 64;

/** One write, through all its attempts. */
export class Operation implements OperationId {
  readonly clientId: number;
  readonly sequence: number;
  readonly lowestUnacknowledged: number;
  readonly #registration: Registration;

  constructor(registration: Registration, sequence: number, lowestUnacknowledged: number) {
    this.clientId = registration.clientId;
    this.sequence = sequence;
    this.lowestUnacknowledged = lowestUnacknowledged;
    this.#registration = registration;
  }

  /** Its call is over. Once. */
  end(): void {
    this.#registration.ended(this.sequence);
  }

  /** The servers do not know the registration any more. */
  expire(): void {
    this.#registration.isExpired = true;
  }
}

export class Registration {
  readonly clientId: number;
  isExpired = false;
  #next = 1;
  #lowest = 1;
  /** Of the numbers from `#lowest` on, by their remainder: 1 = its call is over. */
  readonly #over = new Uint8Array(OPEN_MAX);

  constructor(clientId: number) {
    this.clientId = clientId;
  }

  get isFull(): boolean {
    return this.#next - this.#lowest >= OPEN_MAX;
  }

  take(): Operation {
    return new Operation(this, this.#next++, this.#lowest);
  }

  ended(sequence: number): void {
    this.#over[sequence % OPEN_MAX] = 1;
    while (this.#lowest < this.#next && this.#over[this.#lowest % OPEN_MAX] === 1) {
      this.#over[this.#lowest % OPEN_MAX] = 0;
      this.#lowest += 1;
    }
  }
}

export class Registrations {
  /** The one in use first. */
  #all: Registration[] = [];
  #pending: Promise<void> | undefined;

  /** `undefined`: none has room. */
  take(): Operation | undefined {
    const first = this.#all[0];
    if (first !== undefined && !first.isExpired && !first.isFull) return first.take();
    this.#all = this.#all.filter(({ isExpired }) => !isExpired);
    const at = this.#all.findIndex(({ isFull }) => !isFull);
    if (at < 0) return undefined;
    const [free] = this.#all.splice(at, 1);
    this.#all.unshift(free!);
    return free!.take();
  }

  /** One more may be asked for. */
  get hasRoom(): boolean {
    return this.#all.length < REGISTRATIONS_MAX;
  }

  /** Resolves when there is one more: asked for by `register` once for all who wait. Rejects as that does. */
  more(register: () => Promise<number>): Promise<void> {
    this.#pending ??= register()
      .then((clientId) => {
        this.#all.unshift(new Registration(clientId));
      })
      .finally(() => {
        this.#pending = undefined;
      });
    return this.#pending;
  }
}
