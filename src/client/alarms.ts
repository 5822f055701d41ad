/** Alarm calls of the client. */
import type { ResponseHeader } from "../protocol/key-value.ts";
import type { AlarmRequest } from "../protocol/requests.ts";
import type { Alarm, AlarmResult, Response } from "../protocol/responses.ts";
import type { RequestOptions } from "./client.ts";

export interface AlarmsAnswer {
  readonly header: ResponseHeader;
  readonly alarms: readonly Alarm[];
}

type Send = (request: AlarmRequest, options: RequestOptions) => Promise<Response<AlarmResult>>;

/**
 * What members say is wrong: `client.alarms`. "nospace" stands for a member whose state is beyond its quota; until it has
 * free space again, or the alarm is disarmed, every member refuses writes that grow with `NO_SPACE`.
 */
export class Alarms {
  readonly #send: Send;

  constructor(send: Send) {
    this.#send = send;
  }

  /** Those that stand. Linearizable. */
  list(options: RequestOptions = {}): Promise<AlarmsAnswer> {
    return this.#ask({ kind: "alarm", action: "get" }, options);
  }

  /** Raises one, whether it stands or not. A member that has space releases its own within seconds. */
  activate({ member, alarm }: Alarm, options: RequestOptions = {}): Promise<AlarmsAnswer> {
    return this.#ask({ kind: "alarm", action: "activate", member, alarm }, options);
  }

  /**
   * Releases one alarm, or all that stand, one by one. Returns those released. A member that is still full raises its own
   * again with the next write.
   *
   * @example
   * await client.compact(revision, { physical: true });
   * await client.alarms.disarm();
   */
  async disarm(alarm?: Alarm | undefined, options: RequestOptions = {}): Promise<AlarmsAnswer> {
    if (alarm !== undefined) return this.#ask({ kind: "alarm", action: "deactivate", ...pick(alarm) }, options);
    const standing = await this.list(options);
    let { header } = standing;
    const released: Alarm[] = [];
    for (const each of standing.alarms) {
      const answer = await this.#ask({ kind: "alarm", action: "deactivate", ...pick(each) }, options);
      header = answer.header;
      released.push(...answer.alarms);
    }
    return { header, alarms: released };
  }

  async #ask(request: AlarmRequest, options: RequestOptions): Promise<AlarmsAnswer> {
    const { header, result } = await this.#send(request, options);
    return { header, alarms: result.alarms };
  }
}

const pick = ({ member, alarm }: Alarm): Alarm => ({ member, alarm });
