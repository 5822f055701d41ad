/** Membership calls of the client. */
import type { MemberId } from "../base/ids.ts";
import type { Member, ResponseHeader } from "../protocol/key-value.ts";
import type { Request } from "../protocol/requests.ts";
import type { MembersResult, Response } from "../protocol/responses.ts";
import type { RequestOptions } from "./client.ts";

export interface MembersAnswer {
  readonly header: ResponseHeader;
  /** All members, as of the answer. One that never started has an empty name. */
  readonly members: readonly Member[];
}

export interface MemberAddAnswer extends MembersAnswer {
  /** The new one. Start it with its peer address and `join`. */
  readonly member: Member;
}

type MembersRequest = Extract<
  Request,
  { readonly kind: "memberList" | "memberAdd" | "memberRemove" | "memberUpdate" | "memberPromote" }
>;
type Send = (request: MembersRequest, options: RequestOptions) => Promise<Response<MembersResult>>;

/** Who belongs to the cluster: `client.members`. */
export class Members {
  readonly #send: Send;

  constructor(send: Send) {
    this.#send = send;
  }

  /** The members. Linearizable unless told otherwise: then as the answering member knows them. */
  async list(options: RequestOptions & { readonly linearizable?: boolean | undefined } = {}): Promise<MembersAnswer> {
    const { header, result } = await this.#send(
      { kind: "memberList", linearizable: options.linearizable ?? true },
      options,
    );
    return { header, members: result.members };
  }

  /**
   * Adds a member under the addresses where the others will reach it. Start it afterwards with `join`. Throws
   * `MEMBER_BAD_URLS`, `PEER_URL_EXISTS`, `MEMBER_NOT_ENOUGH_STARTED`, `UNHEALTHY`, `TOO_MANY_LEARNERS`.
   *
   * @example
   * const { member } = await client.members.add(["ws://127.0.0.1:7407"], { isLearner: true });
   */
  async add(
    peerUrls: readonly string[],
    options: RequestOptions & { readonly isLearner?: boolean | undefined } = {},
  ): Promise<MemberAddAnswer> {
    const { isLearner } = options;
    const { header, result } = await this.#send(
      { kind: "memberAdd", peerUrls: [...peerUrls], ...(isLearner === undefined ? {} : { isLearner }) },
      options,
    );
    // The server names it in every answer to this request; without it the answer is another's.
    return { header, member: result.member!, members: result.members };
  }

  /** Removes a member; it stops by itself. Throws `MEMBER_NOT_FOUND`, `MEMBER_NOT_ENOUGH_STARTED`, `UNHEALTHY`. */
  remove(id: MemberId, options: RequestOptions = {}): Promise<MembersAnswer> {
    return this.#change({ kind: "memberRemove", id }, options);
  }

  /** Changes where the others reach a member. Throws `MEMBER_NOT_FOUND`, `MEMBER_BAD_URLS`, `PEER_URL_EXISTS`. */
  update(id: MemberId, peerUrls: readonly string[], options: RequestOptions = {}): Promise<MembersAnswer> {
    return this.#change({ kind: "memberUpdate", id, peerUrls: [...peerUrls] }, options);
  }

  /** Lets a learner vote. Throws `MEMBER_NOT_FOUND`, `MEMBER_NOT_LEARNER`, `MEMBER_LEARNER_NOT_READY`. */
  promote(id: MemberId, options: RequestOptions = {}): Promise<MembersAnswer> {
    return this.#change({ kind: "memberPromote", id }, options);
  }

  async #change(request: MembersRequest, options: RequestOptions): Promise<MembersAnswer> {
    const { header, result } = await this.#send(request, options);
    return { header, members: result.members };
  }
}
