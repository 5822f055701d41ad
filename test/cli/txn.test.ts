/** `txn --interactive` and what hangs on leases, with a real member (etcd-semantics 14.2, 14.4). */
import { expect, test } from "vitest";
import { quorate, start, temporaryDir } from "./run.ts";

const PROMPTS = ["compares:\n", "success requests (get, put, del):\n", "failure requests (get, put, del):\n"] as const;

test("txn --interactive prompts before each block, and tells what is wrong at once", async () => {
  const member = start(["server", "--dir", temporaryDir(), "--listen-client-url", "ws://127.0.0.1:0", "--json"]);
  await member.until(({ stdout }) => stdout.includes("\n"));
  const { clientUrl } = JSON.parse(member.stdout) as { clientUrl: string };
  const endpoints = ["--endpoints", clientUrl.replace("ws://", "")];
  const txn = (stdin: string, ...flags: string[]) => quorate(["txn", "-i", ...flags, ...endpoints], { stdin });
  const all = PROMPTS.join("");

  expect(await txn('ver("a") = "0"\n\nput a "one\\ttwo"\nget a --keys-only\n\nget a\n\n')).toEqual({
    code: 0,
    stdout: `${all}SUCCESS\n\nOK\n\na\n\n`,
    stderr: "",
  });
  expect(await txn('  c("a") = "0"  \n\nput a 2\n\nget a\nget b\ndel b\n\n')).toMatchObject({
    code: 0,
    stdout: `${all}FAILURE\n\na\none\ttwo\n\n\n0\n`,
  });
  // Blocks may be empty, and a line of blanks ends one as an empty line does.
  expect(await txn("\n \t \n  \n")).toMatchObject({ code: 0, stdout: `${all}SUCCESS\n` });
  expect(JSON.parse((await txn("\n\n\n", "-w", "json")).stdout.slice(all.length))).toMatchObject({ succeeded: true });

  // The first line that is not understood ends it, before the next prompt.
  expect(await txn("value(a) = 1\n\n\n\n")).toMatchObject({ code: 3, stdout: PROMPTS[0] });
  const frob = await txn("\nfrob a\n\n\n");
  expect(frob).toMatchObject({ code: 3, stdout: PROMPTS[0] + PROMPTS[1] });
  expect(frob.stderr).toMatch(/^Error: invalid txn request: frob a .*\n$/);
  expect(await txn("\nput a 1\n")).toMatchObject({
    code: 3,
    stdout: PROMPTS[0] + PROMPTS[1],
    stderr: expect.stringMatching(/^Error: unexpected end of input.*\n$/),
  });
  expect((await quorate(["get", "a", ...endpoints])).stdout).toBe("a\none\ttwo\n");

  // A lease given in a txn counts, and one that is not there is refused.
  const [, id = ""] = /^lease ([0-9a-f]{16}) /.exec((await quorate(["lease", "grant", "100", ...endpoints])).stdout)!;
  expect(await txn(`\nput leased 1 --lease=${id}\n\n\n`)).toMatchObject({ code: 0, stdout: `${all}SUCCESS\n\nOK\n` });
  expect((await quorate(["lease", "timetolive", id, "--keys", ...endpoints])).stdout).toContain("([leased])");
  expect(await quorate(["put", "x", "1", "--lease", "1234", ...endpoints])).toEqual({
    code: 1,
    stdout: "",
    stderr: "Error: etcdserver: requested lease not found\n",
  });
  expect(await txn('lease("leased") = "1234"\n\n\nget leased -- \n\n')).toMatchObject({ code: 0 });
  // An id is 64 bits, the highest too.
  expect(await quorate(["lease", "keep-alive", "fffffffffffffffe", ...endpoints])).toMatchObject({
    code: 0,
    stdout: "lease fffffffffffffffe expired or revoked.\n",
  });
});
