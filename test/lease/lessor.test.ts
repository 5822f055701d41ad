import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { InvariantError } from "../../src/base/assert.ts";
import { type LeaseId, leaseId, NO_LEASE } from "../../src/base/ids.ts";
import { type LeaseRecord, Lessor, LessorLoader } from "../../src/lease/lessor.ts";
import { effectiveTtl, minimumTtl, TTL_MAX } from "../../src/lease/ttl.ts";
import { testSeed } from "../support/seed.ts";
import { MapRecords } from "./records.ts";

const seed = testSeed();
const A = leaseId(0xa);
const B = leaseId(-0xb);

function lessorOf(...grants: readonly (readonly [LeaseId, number])[]): { lessor: Lessor; records: MapRecords } {
  const records = new MapRecords();
  const lessor = new Lessor(records);
  for (const [id, ttl] of grants) lessor.grant(id, ttl);
  return { lessor, records };
}

describe("effectiveTtl", () => {
  test.each([
    ["a plain one", 10, 1_000, 10],
    ["the minimum itself", 2, 1_000, 2],
    ["below the minimum", 1, 1_000, 2],
    ["zero", 0, 1_000, 2],
    ["a negative one", -5, 1_000, 2],
    ["below the minimum of slow elections", 5, 5_000, 8],
    ["the largest", TTL_MAX, 1_000, TTL_MAX],
  ])("%s", (_name, requested, electionTimeoutMs, expected) => {
    expect(effectiveTtl(requested, electionTimeoutMs)).toBe(expected);
  });

  test.each([
    ["too large", TTL_MAX + 1, "LEASE_TTL_TOO_LARGE"],
    ["a fraction", 1.5, "INVALID_REQUEST"],
    ["not a number", Number.NaN, "INVALID_REQUEST"],
  ])("%s is refused", (_name, requested, code) => {
    expect(() => effectiveTtl(requested, 1_000)).toThrow(expect.objectContaining({ code, outcome: "rejected" }));
  });

  test("the minimum is one and a half election timeouts, in whole seconds", () => {
    expect([100, 500, 1_000, 1_334, 5_000].map(minimumTtl)).toEqual([1, 1, 2, 3, 8]);
  });
});

describe("Lessor.grant", () => {
  test("stores the lease and tells the observer", () => {
    const { lessor, records } = lessorOf();
    const told: string[] = [];
    lessor.observer = {
      granted: ({ id }) => told.push(`granted ${id}`),
      revoked: ({ id }) => told.push(`revoked ${id}`),
    };
    const lease = lessor.grant(A, 10);
    expect(lease).toMatchObject({ id: A, grantedTtl: 10, remainingTtl: 10 });
    expect(lessor.lookup(A)).toBe(lease);
    expect([...records.byId.values()]).toEqual([{ id: A, grantedTtl: 10, remainingTtl: 10 }]);
    lessor.revoke(A);
    expect(told).toEqual([`granted ${A}`, `revoked ${A}`]);
  });

  test.each([
    ["an id that is taken", A, 5, "LEASE_EXISTS", "etcdserver: lease already exists"],
    [
      "an id that is taken, with too large a TTL",
      A,
      TTL_MAX + 1,
      "LEASE_TTL_TOO_LARGE",
      "etcdserver: too large lease TTL",
    ],
    ["a TTL above the limit", B, TTL_MAX + 1, "LEASE_TTL_TOO_LARGE", "etcdserver: too large lease TTL"],
    ["the id that stands for none", NO_LEASE, 5, "LEASE_NOT_FOUND", "etcdserver: requested lease not found"],
  ])("%s is refused and changes nothing", (_name, id, ttl, code, message) => {
    const { lessor, records } = lessorOf([A, 10]);
    expect(() => lessor.grant(id, ttl)).toThrow(expect.objectContaining({ code, message, outcome: "rejected" }));
    expect(lessor.list()).toEqual([A]);
    expect(records.writes).toBe(1);
    expect(lessor.lookup(A)?.grantedTtl).toBe(10);
  });

  test("a TTL that nobody raised is one second at least", () => {
    const { lessor } = lessorOf([A, 0], [B, -7]);
    expect([lessor.lookup(A)?.grantedTtl, lessor.lookup(B)?.grantedTtl]).toEqual([1, 1]);
  });

  test("an id may be granted again once it is revoked, and has no keys then", () => {
    const { lessor } = lessorOf([A, 10]);
    lessor.attach("k", A);
    lessor.revoke(A);
    lessor.grant(A, 20);
    expect(lessor.lookup(A)?.grantedTtl).toBe(20);
    expect(lessor.keys(A)).toEqual([]);
    expect(lessor.leaseOf("k")).toBe(NO_LEASE);
  });
});

describe("Lessor.list", () => {
  test("is ascending, negative ids first, whatever the order of grants", () => {
    const ids = [5, -1, 3, -9].map(leaseId);
    const { lessor } = lessorOf(...ids.map((id) => [id, 10] as const));
    expect(lessor.list()).toEqual([-9, -1, 3, 5].map(leaseId));
    expect(lessor.size).toBe(4);
  });
});

describe("Lessor.revoke", () => {
  test("hands out the keys in ascending byte order and forgets lease, keys and record", () => {
    const { lessor, records } = lessorOf([A, 10], [B, 10]);
    const keys = ["b", "a\xff", "a", "\x00", "\xff", "a\x00"];
    for (const key of keys) lessor.attach(key, A);
    lessor.attach("other", B);
    expect(lessor.revoke(A)).toEqual(["\x00", "a", "a\x00", "a\xff", "b", "\xff"]);
    expect(lessor.lookup(A)).toBeUndefined();
    expect(lessor.keys(A)).toEqual([]);
    expect(lessor.attached).toBe(1);
    expect([...records.byId.keys()]).toEqual([B]);
  });

  test("a lease without keys has none to delete", () => {
    expect(lessorOf([A, 10]).lessor.revoke(A)).toEqual([]);
  });

  test("an unknown lease is refused", () => {
    const { lessor } = lessorOf([A, 10]);
    expect(() => lessor.revoke(B)).toThrow(
      expect.objectContaining({ code: "LEASE_NOT_FOUND", message: "etcdserver: requested lease not found" }),
    );
  });

  test("after its keys went one by one there are none left", () => {
    const { lessor } = lessorOf([A, 10]);
    for (const key of ["x", "y", "z"]) lessor.attach(key, A);
    const keys = [...(lessor.lookup(A)?.keys ?? [])].sort();
    for (const key of keys) lessor.detach(key);
    expect(lessor.revoke(A)).toEqual([]);
    expect(keys).toEqual(["x", "y", "z"]);
  });
});

describe("attaching", () => {
  test.each<[string, (lessor: Lessor) => void, readonly string[], readonly string[]]>([
    ["a put with a lease attaches", (lessor) => lessor.attach("k", A), ["k"], []],
    [
      "a put with another lease moves the key",
      (lessor) => {
        lessor.attach("k", A);
        lessor.attach("k", B);
      },
      [],
      ["k"],
    ],
    [
      "a put with the same lease changes nothing",
      (lessor) => {
        lessor.attach("k", A);
        lessor.attach("k", A);
      },
      ["k"],
      [],
    ],
    [
      "a put without a lease, or a delete, detaches",
      (lessor) => {
        lessor.attach("k", A);
        lessor.attach("l", A);
        lessor.detach("k");
      },
      ["l"],
      [],
    ],
    ["detaching a key without a lease does nothing", (lessor) => lessor.detach("k"), [], []],
    [
      "the end of its former lease leaves a moved key alone",
      (lessor) => {
        lessor.attach("k", A);
        lessor.attach("k", B);
        expect(lessor.revoke(A)).toEqual([]);
      },
      [],
      ["k"],
    ],
  ])("%s", (_name, run, keysOfA, keysOfB) => {
    const { lessor } = lessorOf([A, 10], [B, 10]);
    run(lessor);
    expect(lessor.keys(A)).toEqual(keysOfA);
    expect(lessor.keys(B)).toEqual(keysOfB);
    expect(lessor.attached).toBe(keysOfA.length + keysOfB.length);
  });

  test("to a lease that does not exist breaks an invariant: the put was to be refused", () => {
    const { lessor } = lessorOf([A, 10]);
    expect(() => lessor.attach("k", B)).toThrow(InvariantError);
    expect(lessor.attached).toBe(0);
  });

  test("writes no record: attachments are derived", () => {
    const { lessor, records } = lessorOf([A, 10]);
    lessor.attach("k", A);
    lessor.detach("k");
    expect(records.writes).toBe(1);
  });
});

describe("Lessor.checkpoint", () => {
  test.each([
    ["less than the TTL is kept", 7, 7],
    ["the TTL itself clears", 10, 10],
    ["more than the TTL clears", 11, 10],
    ["0 clears, as in etcd", 0, 10],
    ["a negative one never shortens", -1, 10],
  ])("%s", (_name, remaining, expected) => {
    const { lessor, records } = lessorOf([A, 10]);
    lessor.checkpoint(A, 3);
    expect(lessor.checkpoint(A, remaining)).toBe(true);
    expect(lessor.lookup(A)?.remainingTtl).toBe(expected);
    expect(records.byId.get(A)).toEqual({ id: A, grantedTtl: 10, remainingTtl: expected });
  });

  test("of a lease that ended meanwhile changes nothing", () => {
    const { lessor, records } = lessorOf([A, 10]);
    expect(lessor.checkpoint(B, 5)).toBe(false);
    expect(records.writes).toBe(1);
  });

  test("that says what is known already writes nothing", () => {
    const { lessor, records } = lessorOf([A, 10]);
    lessor.checkpoint(A, 10);
    expect(records.writes).toBe(1);
  });
});

describe("LessorLoader", () => {
  const lease = { id: A, grantedTtl: 10, remainingTtl: 4 };

  test("leases before their keys, after them or among them: the result is the same (B50)", () => {
    const orders: ((loader: LessorLoader) => void)[] = [
      (loader) => {
        loader.lease(lease);
        loader.key("k", A);
        loader.key("l", A);
      },
      (loader) => {
        loader.key("k", A);
        loader.key("l", A);
        loader.lease(lease);
      },
      (loader) => {
        loader.key("k", A);
        loader.lease(lease);
        loader.key("l", A);
      },
    ];
    for (const order of orders) {
      const loader = new LessorLoader();
      order(loader);
      const records = new MapRecords();
      const lessor = loader.finish(records);
      expect(lessor.lookup(A)).toMatchObject(lease);
      expect(lessor.keys(A)).toEqual(["k", "l"]);
      expect(records.writes).toBe(0);
      expect(lessor.revoke(A)).toEqual(["k", "l"]);
    }
  });

  test("the newest record of a key decides", () => {
    const loader = new LessorLoader();
    for (const id of [A, B]) loader.lease({ id, grantedTtl: 5, remainingTtl: 5 });
    loader.key("moved", A);
    loader.key("moved", B);
    loader.key("deleted", A);
    loader.key("deleted", NO_LEASE);
    const lessor = loader.finish(new MapRecords());
    expect([lessor.keys(A), lessor.keys(B)]).toEqual([[], ["moved"]]);
  });

  test("a key may name a lease that is gone, as long as a newer record does not", () => {
    const loader = new LessorLoader();
    loader.key("k", A);
    loader.key("k", NO_LEASE);
    expect(loader.finish(new MapRecords()).size).toBe(0);
  });

  test.each<[string, LeaseRecord]>([
    ["a TTL of 0", { id: A, grantedTtl: 0, remainingTtl: 0 }],
    ["more left than granted", { id: A, grantedTtl: 5, remainingTtl: 6 }],
    ["nothing left", { id: A, grantedTtl: 5, remainingTtl: 0 }],
    ["the id of none", { id: NO_LEASE, grantedTtl: 5, remainingTtl: 5 }],
    ["a TTL above the limit", { id: A, grantedTtl: TTL_MAX + 1, remainingTtl: 5 }],
  ])("%s is damage", (_name, record) => {
    expect(() => new LessorLoader().lease(record)).toThrow(expect.objectContaining({ code: "STATE_CORRUPT" }));
  });

  test("a lease that is there twice is damage, and so is a key whose lease does not exist", () => {
    const twice = new LessorLoader();
    twice.lease(lease);
    expect(() => twice.lease(lease)).toThrow(expect.objectContaining({ code: "STATE_CORRUPT" }));
    const dangling = new LessorLoader();
    dangling.lease(lease);
    dangling.key("k", B);
    expect(() => dangling.finish(new MapRecords())).toThrow(expect.objectContaining({ code: "STATE_CORRUPT" }));
  });
});

// --- against the obvious model ---

type Step =
  | { readonly kind: "grant"; readonly id: LeaseId; readonly ttl: number }
  | { readonly kind: "revoke"; readonly id: LeaseId }
  | { readonly kind: "attach"; readonly key: string; readonly id: LeaseId }
  | { readonly kind: "detach"; readonly key: string }
  | { readonly kind: "checkpoint"; readonly id: LeaseId; readonly remaining: number }
  | { readonly kind: "reload"; readonly leasesFirst: boolean };

const anId = fc.constantFrom(...[1, 2, 3, -4].map(leaseId));
const aKey = fc.constantFrom("a", "b", "c", "\xff", "a\x00");
const aStep: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constant("grant" as const), id: anId, ttl: fc.integer({ min: 1, max: 20 }) }),
  fc.record({ kind: fc.constant("revoke" as const), id: anId }),
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("attach" as const), key: aKey, id: anId }) },
  fc.record({ kind: fc.constant("detach" as const), key: aKey }),
  fc.record({ kind: fc.constant("checkpoint" as const), id: anId, remaining: fc.integer({ min: -1, max: 22 }) }),
  fc.record({ kind: fc.constant("reload" as const), leasesFirst: fc.boolean() }),
);

/** Every lease and every key in plain lists. */
class Model {
  leases: { id: LeaseId; grantedTtl: number; remainingTtl: number }[] = [];
  keys: { key: string; id: LeaseId }[] = [];

  has = (id: LeaseId): boolean => this.leases.some((lease) => lease.id === id);
  keysOf = (id: LeaseId): string[] =>
    this.keys
      .filter((one) => one.id === id)
      .map(({ key }) => key)
      .sort();
  without = (key: string) => this.keys.filter((one) => one.key !== key);
}

describe("Lessor", () => {
  test(`does what a list of leases and keys does, across restarts (seed ${seed})`, () => {
    fc.assert(
      fc.property(fc.array(aStep, { maxLength: 60 }), (steps) => {
        const model = new Model();
        let records = new MapRecords();
        let lessor = new Lessor(records);
        for (const step of steps) {
          switch (step.kind) {
            case "grant":
              if (model.has(step.id)) expect(() => lessor.grant(step.id, step.ttl)).toThrow("already exists");
              else {
                lessor.grant(step.id, step.ttl);
                model.leases.push({ id: step.id, grantedTtl: step.ttl, remainingTtl: step.ttl });
              }
              break;
            case "revoke":
              if (!model.has(step.id)) expect(() => lessor.revoke(step.id)).toThrow("not found");
              else {
                expect(lessor.revoke(step.id)).toEqual(model.keysOf(step.id));
                model.leases = model.leases.filter(({ id }) => id !== step.id);
                model.keys = model.keys.filter(({ id }) => id !== step.id);
              }
              break;
            case "attach":
              if (!model.has(step.id)) break;
              lessor.attach(step.key, step.id);
              model.keys = [...model.without(step.key), { key: step.key, id: step.id }];
              break;
            case "detach":
              lessor.detach(step.key);
              model.keys = model.without(step.key);
              break;
            case "checkpoint": {
              const lease = model.leases.find(({ id }) => id === step.id);
              expect(lessor.checkpoint(step.id, step.remaining)).toBe(lease !== undefined);
              if (lease !== undefined) {
                lease.remainingTtl =
                  step.remaining >= 1 && step.remaining < lease.grantedTtl ? step.remaining : lease.grantedTtl;
              }
              break;
            }
            case "reload": {
              const loader = new LessorLoader();
              const stored = [...records.byId.values()];
              if (step.leasesFirst) for (const record of stored) loader.lease(record);
              for (const { key, id } of model.keys) loader.key(key, id);
              if (!step.leasesFirst) for (const record of stored) loader.lease(record);
              const next = new MapRecords();
              for (const record of stored) next.byId.set(record.id, record);
              records = next;
              lessor = loader.finish(records);
            }
          }
          const byId = (a: { id: LeaseId }, b: { id: LeaseId }) => (a.id < b.id ? -1 : 1);
          const facts = [...model.leases].sort(byId);
          expect(lessor.list()).toEqual(facts.map(({ id }) => id));
          expect([...records.byId.values()].sort(byId)).toEqual(facts);
          for (const { id, grantedTtl, remainingTtl } of facts) {
            expect(lessor.lookup(id)).toMatchObject({ grantedTtl, remainingTtl });
            expect(lessor.keys(id)).toEqual(model.keysOf(id));
          }
          for (const { key, id } of model.keys) expect(lessor.leaseOf(key)).toBe(id);
          expect(lessor.attached).toBe(model.keys.length);
        }
      }),
      { seed, numRuns: 200 },
    );
  });
});
