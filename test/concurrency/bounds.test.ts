import { describe, expect, test } from "vitest";
import { type ErrorCode, type Outcome, StoreError } from "../../src/base/errors.ts";
import { Bounds } from "../../src/concurrency/bounds.ts";
import { failure, member } from "./member.ts";

describe("what may be done twice", () => {
  test.each<[ErrorCode, Outcome]>([
    ["LEADER_CHANGED", "unknown"],
    ["TOO_MANY_REQUESTS", "rejected"],
    // A laptop that slept: the connection went in mid-call, and the registration meanwhile.
    ["CLIENT_EXPIRED", "unknown"],
    // A leader's value of 100 KB, whose first answer was lost.
    ["RESULT_NOT_KEPT", "applied"],
  ])("is done again after %s (%s)", async (code, outcome) => {
    const { client } = await member();
    using bounds = new Bounds(client, {});
    let attempts = 0;
    const done = await bounds.persist(async () => {
      attempts += 1;
      if (attempts === 1) throw new StoreError(code, { outcome });
      return "done";
    });
    expect([done, attempts]).toEqual(["done", 2]);
  });

  test("is not after what another attempt would only repeat, and its error speaks of all attempts", async () => {
    const { client } = await member();
    using bounds = new Bounds(client, {});
    let attempts = 0;
    const error = await failure(
      bounds.persist(async () => {
        attempts += 1;
        throw attempts === 1 ? new StoreError("TIMEOUT", { outcome: "unknown" }) : new StoreError("NO_SPACE");
      }),
    );
    expect(error).toMatchObject({ code: "NO_SPACE", outcome: "unknown" });
    expect(attempts).toBe(2);
  });
});
