/** Channels and a dialler that do what a test says, on virtual time. */
import { expect, onTestFinished } from "vitest";
import { StoreError, type StoreErrorOptions } from "../../src/base/errors.ts";
import { clusterId, memberId, revision, term } from "../../src/base/ids.ts";
import { Client, type ClientOptions } from "../../src/client/client.ts";
import type { Dial, DialedChannel } from "../../src/client/endpoints.ts";
import type { CallOptions, LeaderNews, WatchOptions, WatchReceiver, WatchStream } from "../../src/protocol/channel.ts";
import type { Request } from "../../src/protocol/requests.ts";
import type { Response, Result, ResultOf } from "../../src/protocol/responses.ts";
import { SimulatedWorld } from "../../src/testing/world.ts";

export const CLUSTER = clusterId(0xc1n);

export function answered(result: Result, member = 1): Response {
  return {
    header: { clusterId: CLUSTER, memberId: memberId(member), revision: revision(5), raftTerm: term(2) },
    result,
  };
}

export const PUT = answered({ kind: "put", revision: revision(5) });
export const NOTHING = answered({ kind: "range", revision: revision(5), kvs: [], more: false, count: 0 });

/** The plain answer to a request. */
export function plainAnswer(request: Request, member = 1): Response {
  switch (request.kind) {
    case "range":
      return answered({ kind: "range", revision: revision(5), kvs: [], more: false, count: 0 }, member);
    case "put":
      return answered({ kind: "put", revision: revision(5) }, member);
    default:
      throw new TypeError(`no plain answer to ${request.kind}`);
  }
}

export interface ScriptedCall {
  readonly request: Request;
  readonly options: CallOptions;
}

/** One member as its clients see it. */
export class Member {
  readonly id: number;
  readonly calls: ScriptedCall[] = [];
  dials = 0;
  /** Channels that are open now. */
  readonly open = new Set<() => void>();
  dialed: () => Promise<void> = async () => {};
  answer: (request: Request, options: CallOptions) => Promise<Response>;
  cluster = CLUSTER;
  leader: LeaderNews | undefined;
  suspected = 0;
  readonly #channels = new Set<DialedChannel>();
  /** What a watch stream meets; nothing by default. */
  watching: (receiver: WatchReceiver, options: WatchOptions) => WatchStream = () =>
    expect.fail("no test of calls opens a watch");

  constructor(id: number) {
    this.id = id;
    this.answer = async (request) => plainAnswer(request, id);
  }

  refuses(): void {
    this.dialed = () =>
      Promise.reject(new StoreError("UNAVAILABLE", { message: `quorate: member ${this.id} refuses` }));
  }

  rejects(code: StoreError["code"], options: StoreErrorOptions = {}): void {
    this.answer = () => Promise.reject(new StoreError(code, options));
  }

  /** Tells its clients whom it follows. */
  follows(member: number | undefined, inTerm: number): void {
    this.leader = { term: inTerm, member: member === undefined ? undefined : memberId(member) };
    for (const { onLeader } of this.#channels) onLeader?.(this.leader);
  }

  /** Ends its connections, as a process that dies does. */
  dies(): void {
    for (const end of this.open) end();
    this.refuses();
  }

  async connect(): Promise<DialedChannel> {
    this.dials += 1;
    await this.dialed();
    let end!: () => void;
    let ended = false;
    const closed = new Promise<void>((resolve) => {
      end = () => {
        ended = true;
        this.open.delete(end);
        this.#channels.delete(channel);
        resolve();
      };
    });
    this.open.add(end);
    const channel: DialedChannel = {
      clusterId: this.cluster,
      memberId: memberId(this.id),
      leader: this.leader,
      suspect: () => {
        this.suspected += 1;
      },
      closed,
      close: end,
      watch: (receiver, options = {}) => this.watching(receiver, options),
      call: async <Q extends Request>(request: Q, options: CallOptions) => {
        if (ended) throw new StoreError("CONNECTION_LOST");
        this.calls.push({ request, options });
        return (await this.answer(request, options)) as Response<ResultOf<Q>>;
      },
    };
    this.#channels.add(channel);
    return channel;
  }
}

export class Script {
  readonly world: SimulatedWorld;
  readonly members: readonly Member[];
  readonly client: Client;
  /** The order in which members were dialled. */
  readonly dialed: readonly number[];

  private constructor(world: SimulatedWorld, members: readonly Member[], client: Client, dialed: readonly number[]) {
    this.world = world;
    this.members = members;
    this.client = client;
    this.dialed = dialed;
  }

  static async open(count: number, options: Partial<ClientOptions> = {}): Promise<Script> {
    const world = new SimulatedWorld({ seed: 7 });
    const members = Array.from({ length: count }, (_, i) => new Member(i + 1));
    const dialed: number[] = [];
    const dial: Dial = (endpoint) => {
      const member = members.find(({ id }) => `m${id}` === endpoint);
      if (member === undefined) return Promise.reject(new StoreError("BAD_CONFIG"));
      dialed.push(member.id);
      return member.connect();
    };
    // The first endpoint first, so that a test can tell what comes next.
    const random = { next: () => 0, bytes: (length: number) => new Uint8Array(length) };
    const endpoints = members.map(({ id }) => `m${id}`);
    // Members of a script know no registrations unless a test is about those (test/client/once.test.ts).
    const client = await Client.open({ clock: world.clock, random, endpoints, dial, exactlyOnce: false, ...options });
    onTestFinished(() => client.close());
    return new Script(world, members, client, dialed);
  }

  /** The member that stands at this place in the list of endpoints, from 1. */
  member(place: number): Member {
    return this.members[place - 1]!;
  }

  settle<T>(promise: Promise<T>): Promise<T> {
    return this.world.settle(promise, 120_000);
  }

  /** The error with which it ends, and after how long. Somebody must let time pass meanwhile. */
  async caught(promise: Promise<unknown>): Promise<{ readonly error: StoreError; readonly afterMs: number }> {
    const begun = this.world.clock.now();
    const error: unknown = await promise.then(
      () => expect.fail("it was answered"),
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(StoreError);
    return { error: error as StoreError, afterMs: this.world.clock.now() - begun };
  }

  /** The same, and lets time pass until then. */
  failure(promise: Promise<unknown>): Promise<{ readonly error: StoreError; readonly afterMs: number }> {
    return this.settle(this.caught(promise));
  }
}
