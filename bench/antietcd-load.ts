/** The load of `bench/etcd-load` for antietcd: JSON over HTTP, sockets kept open. */
import { Agent, request } from "node:http";
import { generateLoad } from "./support/closed-loop.ts";

interface Answer {
  readonly succeeded?: boolean;
  readonly header?: { readonly revision: number | string };
}

/** HTTP has one request under way a socket. */
const agent = new Agent({ keepAlive: true, maxSockets: 1_024 });
const text = (value: string | Uint8Array): string => Buffer.from(value as Uint8Array).toString("base64");

await generateLoad(async ([endpoint]) => {
  const [host, port] = endpoint!.split(":");
  const call = (path: string, body: object): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const sent = request(
        { agent, host, port, path: `/v3/kv/${path}`, method: "POST", headers: { "content-type": "application/json" } },
        (response) => {
          let answer = "";
          response.setEncoding("utf8");
          response.on("data", (part: string) => {
            answer += part;
          });
          response.once("end", () => {
            if (response.statusCode === 200) resolve(JSON.parse(answer) as Answer);
            else reject(new Error(`${response.statusCode} ${answer}`));
          });
          response.once("error", reject);
        },
      );
      sent.once("error", reject);
      sent.end(JSON.stringify(body));
    });
  return {
    put: (key, value) => call("put", { key: text(key), value: text(value) }),
    get: (key, serializable) => call("range", { key: text(key), serializable }),
    range: (start, end) => call("range", { key: text(start), range_end: text(end) }),
    putIf: async (key, revision, value) => {
      const { succeeded, header } = await call("txn", {
        compare: [{ key: text(key), target: "MOD", mod_revision: revision }],
        success: [{ request_put: { key: text(key), value: text(value) } }],
      });
      if (succeeded !== true) throw new Error("another wrote the key");
      return Number(header?.revision ?? 0);
    },
    close: async () => agent.destroy(),
  };
});
process.exit(0);
