import { expect, test } from "vitest";
import { bytes } from "../support/state.ts";
import type { WatchMessage } from "./answer.ts";
import { Mailbox } from "./feed.ts";
import { Quorate } from "./quorate.ts";
import { SideStream, sentinel } from "./watching.ts";

const message = (more: Partial<WatchMessage>): WatchMessage => ({
  ...{
    revision: 1,
    watchId: 0,
    created: false,
    canceled: false,
    compactRevision: 0,
    cancelReason: "",
    fragment: false,
  },
  events: [],
  ...more,
});

test("a request's answers are told from what watchers are told meanwhile", async () => {
  await using quorate = await Quorate.start();
  const stream = new SideStream(await quorate.watch());
  expect(await stream.request({ kind: "cancel", watchId: 5 })).toEqual([]);
  expect(await stream.request({ kind: "create", key: bytes("a") })).toEqual([message({ created: true })]);
  await quorate.ask({ kind: "put", key: bytes("a"), value: bytes("1") });
  expect(await stream.request({ kind: "create", key: bytes("a"), startRevision: 1, watchId: 3 })).toEqual([
    message({ revision: 2, watchId: 3, created: true }),
  ]);
  for (const watcher of [0, 3]) {
    const [news] = await stream.look(watcher, ({ events }) => events.at(-1)?.kv.modRevision === 2);
    expect(news).toMatchObject({ watchId: watcher, events: [{ type: "put", kv: { key: "a", value: "1" } }] });
  }
  expect(stream.take(0)).toEqual([]);
  expect(await stream.request({ kind: "progress" })).toEqual([message({ revision: 2, watchId: -1 })]);
  expect(await stream.request({ kind: "cancel", watchId: 0 })).toEqual([
    message({ revision: 2, watchId: 0, canceled: true }),
  ]);
  stream.close();
});

test("whatever watchers filter, each is told of one revision", async () => {
  await using quorate = await Quorate.start();
  const stream = new SideStream(await quorate.watch());
  const watchers = [
    { key: bytes("a") },
    { key: bytes("a"), noPut: true },
    { key: bytes("b"), rangeEnd: bytes("\0"), noDelete: true },
    { key: bytes(""), noPut: true },
  ];
  for (const watcher of watchers) await stream.request({ kind: "create", ...watcher });
  const answer = await quorate.ask(sentinel(watchers));
  expect(answer).toMatchObject({ kind: "granted", revision: 2 });
  const types = [];
  for (const id of watchers.keys()) {
    const [news] = await stream.look(id, ({ events }) => events.at(-1)?.kv.modRevision === 2);
    types.push(news!.events.map(({ type, kv }) => `${type} ${kv.key}`));
  }
  expect(types).toEqual([["put a", "delete a"], ["delete a"], ["put b"], ["delete \0"]]);
  stream.close();
});

test("what is told to a watcher that is not there is an error", async () => {
  const mailbox = new Mailbox();
  const stream = new SideStream({ request() {}, next: () => mailbox.take(), close() {} });
  mailbox.put(message({ watchId: 4, canceled: true, compactRevision: 3 }));
  await expect(stream.request({ kind: "progress" })).rejects.toThrow("not there");
});

test("a stream that ended gives what came before its end, then why", async () => {
  const mailbox = new Mailbox();
  mailbox.put(message({ watchId: 1 }));
  mailbox.fail(new Error("the stream ended"));
  mailbox.fail(new Error("and again"));
  expect(await mailbox.take()).toEqual(message({ watchId: 1 }));
  await expect(mailbox.take()).rejects.toThrow("the stream ended");
  const open = new Mailbox();
  const waiting = open.take();
  open.fail(new Error("while somebody waits"));
  await expect(waiting).rejects.toThrow("while somebody waits");
});
