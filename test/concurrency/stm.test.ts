import { describe, expect, test } from "vitest";
import { decodeUtf8, encodeUtf8 } from "../../src/base/bytes.ts";
import type { Client } from "../../src/client/client.ts";
import { type Isolation, stm } from "../../src/concurrency/stm.ts";
import type { TxnRequest } from "../../src/protocol/requests.ts";
import { failure, member } from "./member.ts";

const LEVELS: readonly Isolation[] = ["SerializableSnapshot", "Serializable", "RepeatableReads", "ReadCommitted"];

/** The compares of the commits that a client asked for, as text. */
function compares(asked: readonly { readonly kind: string }[]): string[] {
  return asked
    .filter((request): request is TxnRequest => request.kind === "txn")
    .filter(({ success }) => success.some(({ kind }) => kind !== "range") || success.length === 0)
    .map(({ compare }) =>
      compare
        .map(
          (each) =>
            `${each.target}(${decodeUtf8(each.key)}) ${each.result} ${"modRevision" in each && each.modRevision}`,
        )
        .join(", "),
    );
}

describe("an stm commits with etcd's compares", () => {
  const table: readonly (readonly [Isolation, string])[] = [
    // a was read at revision 3, where its last write was 2; b and c are written, c without having been read.
    ["SerializableSnapshot", "mod(a) equal 2, mod(b) equal 0, mod(b) less 4, mod(c) less 4"],
    ["Serializable", "mod(a) equal 2, mod(b) equal 0"],
    ["RepeatableReads", "mod(a) equal 2, mod(b) equal 0"],
    ["ReadCommitted", ""],
  ];
  test.each(table)("%s", async (isolation, expected) => {
    const { client, asked } = await member();
    await client.put("a", "1");
    await client.put("x", "1");
    const before = asked().length;
    const { attempts, header } = await stm(
      client,
      async (tx) => {
        expect(await tx.getText("a")).toBe("1");
        expect(await tx.get("b")).toBeUndefined();
        tx.put("b", "2");
        tx.put("c", "3");
      },
      { isolation },
    );
    expect([attempts, header.revision]).toEqual([1, 4]);
    expect(compares(asked().slice(before))).toEqual([expected]);
    const reads = asked().slice(before, -1);
    const options = { SerializableSnapshot: {}, Serializable: {} }[isolation as string] ?? { serializable: true };
    const later = { SerializableSnapshot: { revision: 3 }, Serializable: { revision: 3 } }[isolation as string] ?? {};
    const get = (key: string, more: object) => ({
      ...{ kind: "txn", compare: [], failure: [] },
      success: [{ kind: "range", key: encodeUtf8(key), ...more }],
    });
    expect(reads).toEqual([get("a", options), get("b", { serializable: true, ...later })]);
  });

  test("without a read nothing is compared but that the written keys are of some revision", async () => {
    const { client, asked } = await member();
    await stm(client, (tx) => tx.put("a", "1"));
    expect(compares(asked())).toEqual([`mod(a) less ${Number.MAX_SAFE_INTEGER}`]);
  });

  test("only levels that snapshot read again in the commit that fails", async () => {
    for (const isolation of LEVELS) {
      const { client, asked } = await member();
      await stm(client, async (tx) => tx.put("b", (await tx.getText("a")) ?? ""), { isolation });
      const commit = asked().at(-1) as TxnRequest;
      expect(commit.failure.map(({ kind }) => kind)).toEqual(isolation.startsWith("Serial") ? ["range"] : []);
    }
  });
});

describe("an stm", () => {
  test("is done again when somebody came between, with what the failed commit read", async () => {
    const { client, asked } = await member();
    await client.put("a", "1");
    const seen: string[] = [];
    const before = asked().length;
    const { attempts, result } = await stm(client, async (tx) => {
      const value = (await tx.getText("a"))!;
      seen.push(value);
      if (seen.length === 1) await client.put("a", "5");
      tx.put("a", String(Number(value) + 1));
      return value;
    });
    expect([attempts, result, seen]).toEqual([2, "5", ["1", "5"]]);
    expect((await client.get("a")).kvs[0]?.text()).toBe("6");
    // read, the other's put, the commit that fails and reads, the commit
    expect(
      asked()
        .slice(before, -1)
        .map(({ kind }) => kind),
    ).toEqual(["txn", "put", "txn", "txn"]);
  });

  test("reads its own writes, and what it deleted as absent", async () => {
    const { client } = await member();
    await client.put("a", "1");
    await client.put("b", "1");
    await stm(client, async (tx) => {
      tx.put("a", "2");
      expect(await tx.getText("a")).toBe("2");
      expect(await tx.revision("a")).toBe(2);
      tx.delete("b");
      expect(await tx.get("b")).toBeUndefined();
      expect(await tx.revision("absent")).toBe(0);
    });
    expect((await client.get("", { prefix: true })).kvs.map((kv) => [kv.keyText(), kv.text()])).toEqual([["a", "2"]]);
  });

  test("reads several keys at once where they are named before", async () => {
    const { client, asked } = await member();
    await client.put("a", "1");
    const before = asked().length;
    await stm(client, async (tx) => [await tx.get("a"), await tx.get("b")], { prefetch: ["a", "b"] });
    expect(asked().slice(before)).toHaveLength(2);
  });

  test("an error of the function ends it and nothing is written", async () => {
    const { client } = await member();
    const oops = new Error("oops");
    await expect(
      stm(client, (tx) => {
        tx.put("a", "1");
        throw oops;
      }),
    ).rejects.toBe(oops);
    expect((await client.get("a")).header.revision).toBe(1);
  });

  test("a snapshot that was compacted away is taken anew", async () => {
    const { client } = await member();
    await client.put("a", "1");
    await client.put("b", "1");
    let runs = 0;
    const { result } = await stm(client, async (tx) => {
      const a = await tx.getText("a");
      if (++runs === 1) {
        await client.put("a", "2");
        await client.compact((await client.put("b", "2")).revision);
      }
      return `${a}${await tx.getText("b")}`;
    });
    expect([runs, result]).toEqual([2, "22"]);
  });

  const cases: readonly (readonly [Isolation, string])[] = [
    // Each reads the one and writes the other, from 0 and 0: one after the other they end as 1 and 2.
    ["SerializableSnapshot", "12"],
    ["Serializable", "12"],
    ["RepeatableReads", "12"],
    ["ReadCommitted", "11"],
  ];
  test.each(cases)("write skew under %s ends as %s", async (isolation, expected) => {
    const { client } = await member();
    await client.put("x", "0");
    await client.put("y", "0");
    let came = false;
    const step = (from: string, to: string, meanwhile?: () => Promise<unknown>): Promise<unknown> =>
      stm(
        client,
        async (tx) => {
          const value = Number(await tx.getText(from));
          if (!came && meanwhile !== undefined) {
            came = true;
            await meanwhile();
          }
          tx.put(to, String(value + 1));
        },
        { isolation },
      );
    await step("x", "y", () => step("y", "x"));
    const { kvs } = await client.get("", { prefix: true });
    expect(kvs.map((kv) => kv.text()).join("")).toBe(expected);
  });

  test("money moved by many at once neither appears nor vanishes", async () => {
    const { client } = await member();
    for (let i = 0; i < 4; i++) await client.put(`account/${i}`, "100");
    const move = async (task: number, to: Client): Promise<void> => {
      for (let n = 0; n < 10; n++) {
        const [from, target] = [(task + n) % 4, (task + 3 * n + 1) % 4];
        if (from === target) continue;
        await stm(to, async (tx) => {
          const have = Number(await tx.getText(`account/${from}`));
          const theirs = Number(await tx.getText(`account/${target}`));
          tx.put(`account/${from}`, String(have - 7));
          tx.put(`account/${target}`, String(theirs + 7));
        });
      }
    };
    await Promise.all([0, 1, 2, 3, 4, 5].map((task) => move(task, client)));
    const { kvs } = await client.get("account/", { prefix: true });
    expect(kvs.reduce((sum, kv) => sum + Number(kv.text()), 0)).toBe(400);
  });

  test("ends by its signal, and what is done after its end is refused", async () => {
    const { client } = await member();
    const controller = new AbortController();
    const ending = stm(
      client,
      async (tx) => {
        await tx.get("a");
        controller.abort("enough");
        await tx.get("b");
      },
      { signal: controller.signal },
    );
    expect(await failure(ending)).toMatchObject({ code: "CANCELLED" });
    let late: ((key: string) => void) | undefined;
    await stm(client, (tx) => {
      late = (key) => tx.put(key, "");
    });
    expect(() => late?.("a")).toThrow("this attempt is over");
  });
});
