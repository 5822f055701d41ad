/** Which calls go to the leader itself, and what a client believes of whom its members follow. */
import { describe, expect, test } from "vitest";
import { leaseId, revision } from "../../src/base/ids.ts";
import type { Request } from "../../src/protocol/requests.ts";
import type { Response } from "../../src/protocol/responses.ts";
import { answered, type Member, plainAnswer, Script } from "./scripted.ts";

const LEASE = leaseId(7n);

/** What each member was asked since this was last looked at, by the kinds of its calls. */
function asked({ members }: Script): string[] {
  return members.map(({ calls }) =>
    calls
      .splice(0)
      .map(({ request }) => request.kind)
      .join(" "),
  );
}

async function following(leader: number | undefined, term = 5): Promise<Script> {
  const script = await Script.open(3);
  for (const member of script.members) member.follows(leader, term);
  return script;
}

/** One call to whom it may concern, and one that finds the leader reached. */
async function warm(script: Script): Promise<void> {
  await script.settle(script.client.put("a", "1"));
  await script.settle(script.client.put("a", "2"));
  asked(script);
}

describe("preferLeader", () => {
  test("the first call goes to any member, and dials no other", async () => {
    const script = await following(3);
    await script.settle(script.client.put("a", "1"));
    expect(script.dialed).toEqual([1]);
    expect(asked(script)).toEqual(["put", "", ""]);
  });

  test("then the client is at the leader, with all that it asks: it sees what it wrote", async () => {
    const script = await following(3);
    await warm(script);
    const { client } = script;
    await script.settle(client.put("a", "3"));
    await script.settle(client.get("a"));
    await script.settle(client.get("a", { serializable: true }));
    expect(asked(script)).toEqual(["", "", "put range range"]);
  });

  test("keep-alives and grants lead there; lists and serializable reads do not", async () => {
    const script = await following(2);
    for (const member of script.members) member.answer = (request) => Promise.resolve(anyAnswer(request, member));
    const { client } = script;
    for (let i = 0; i < 2; i++) {
      await script.settle(client.get("a", { serializable: true }));
      await script.settle(client.lease.list());
      await script.settle(client.members.list({ linearizable: false }));
    }
    expect(script.dialed).toEqual([1]);
    await script.settle(client.lease.grant(10));
    await script.settle(client.lease.keepAliveOnce(LEASE));
    await script.settle(client.lease.keepAliveOnce(LEASE));
    const quiet = "range leaseList memberList range leaseList memberList";
    expect(asked(script)).toEqual([`${quiet} leaseGrant`, "leaseKeepAlive leaseKeepAlive", ""]);
  });

  test("false: every call stays with the member first reached", async () => {
    const script = await Script.open(3, { preferLeader: false });
    for (const member of script.members) member.follows(3, 5);
    await warm(script);
    await script.settle(script.client.put("a", "3"));
    expect(asked(script)).toEqual(["put", "", ""]);
    expect(script.dialed).toEqual([1]);
  });

  test("a leader beyond the endpoints is left to the members", async () => {
    const script = await following(9);
    await warm(script);
    await script.settle(script.client.put("a", "3"));
    expect(asked(script)).toEqual(["put", "", ""]);
    // Each was asked once who it is.
    expect([...script.dialed].sort()).toEqual([1, 2, 3]);
  });

  test("the next leader is turned to as soon as one member tells", async () => {
    const script = await following(3);
    await warm(script);
    script.member(1).follows(2, 6);
    await script.settle(script.client.put("a", "3"));
    await script.settle(script.client.put("a", "4"));
    expect(asked(script)).toEqual(["", "put put", ""]);
    // It may hang, with calls that wait for it.
    expect(script.members.map(({ suspected }) => suspected)).toEqual([0, 0, 1]);
  });

  test("what an older term says is no news, nor is a member that lost sight of the leader", async () => {
    const script = await following(3);
    await warm(script);
    script.member(1).follows(1, 4);
    script.member(2).follows(undefined, 5);
    await script.settle(script.client.put("a", "3"));
    expect(asked(script)).toEqual(["", "", "put"]);
  });

  test("two members that name each other in different terms do not play with the client", async () => {
    const script = await Script.open(3);
    script.member(1).follows(2, 5);
    script.member(2).follows(1, 6);
    script.member(3).follows(1, 6);
    await warm(script);
    for (let i = 0; i < 5; i++) await script.settle(script.client.put("a", `${i}`));
    expect(asked(script)).toEqual(["put put put put put", "", ""]);
  });

  test("a leader that leads no more says so, and is not turned to again", async () => {
    const script = await following(3);
    await warm(script);
    script.member(3).rejects("NO_LEADER");
    await script.settle(script.client.get("a"));
    script.member(3).follows(undefined, 5);
    await script.world.runFor(10_001);
    await script.settle(script.client.put("a", "3"));
    expect(asked(script)).toEqual(["range put", "", "range"]);
  });

  test("when the leader dies its calls go to the member at hand at once, and to the new leader when there is one", async () => {
    const script = await following(3);
    await warm(script);
    script.member(3).dies();
    await script.settle(script.client.put("a", "3"));
    expect(asked(script)).toEqual(["put", "", ""]);
    script.member(1).follows(2, 6);
    await script.settle(script.client.put("a", "4"));
    expect(asked(script)).toEqual(["", "put", ""]);
  });

  test("a leader in trouble is left alone for a while, then tried again", async () => {
    const script = await following(3);
    await warm(script);
    script.member(3).rejects("NO_LEADER");
    await script.settle(script.client.get("a"));
    script.member(3).answer = (request) => Promise.resolve(plainAnswer(request, 3));
    await script.settle(script.client.put("a", "4"));
    // Said again, it is no news.
    script.member(1).follows(3, 5);
    await script.settle(script.client.put("a", "4"));
    expect(asked(script)).toEqual(["range put put", "", "range"]);
    await script.world.runFor(10_001);
    await script.settle(script.client.put("a", "5"));
    expect(asked(script)).toEqual(["", "", "put"]);
  });

  test("a leader that is open is turned to again, and nobody else dialled", async () => {
    const script = await following(1);
    await warm(script);
    script.member(1).rejects("NO_LEADER");
    await script.settle(script.client.get("a"));
    script.member(1).answer = (request) => Promise.resolve(plainAnswer(request, 1));
    await script.world.runFor(10_001);
    await script.settle(script.client.put("a", "4"));
    expect(asked(script)).toEqual(["range put", "range", ""]);
    expect(script.dialed).toEqual([1, 2]);
  });

  test("a leader that cannot be dialled costs no call anything, and is dialled again later", async () => {
    const script = await following(3);
    script.member(3).refuses();
    await warm(script);
    for (let i = 0; i < 3; i++) await script.settle(script.client.put("a", `${i}`));
    expect(asked(script)).toEqual(["put put put", "", ""]);
    expect(script.dialed.filter((id) => id === 3)).toHaveLength(1);
    script.member(3).dialed = async () => {};
    await script.world.runFor(10_001);
    await script.settle(script.client.put("a", "5"));
    await script.settle(script.client.put("a", "6"));
    expect(asked(script)).toEqual(["put", "", "put"]);
  });

  test("a closed client looks for nobody, whatever is still being dialled", async () => {
    const script = await following(3);
    let open!: () => void;
    script.member(3).dialed = () =>
      new Promise((resolve) => {
        open = resolve;
      });
    await script.settle(script.client.put("a", "1"));
    await script.settle(script.client.put("a", "2"));
    await script.client.close();
    open();
    await script.world.runFor(10);
    expect(script.members.map((member) => member.open.size)).toEqual([0, 0, 0]);
  });
});

function anyAnswer(request: Request, { id }: Member): Response {
  switch (request.kind) {
    case "leaseGrant":
      return answered({ kind: "leaseGrant", revision: revision(5), id: LEASE, ttl: 10 }, id);
    case "leaseKeepAlive":
      return answered({ kind: "leaseKeepAlive", id: LEASE, ttl: 10 }, id);
    case "leaseList":
      return answered({ kind: "leaseList", leases: [] }, id);
    case "memberList":
      return answered({ kind: "members", members: [] }, id);
    default:
      return plainAnswer(request, id);
  }
}
