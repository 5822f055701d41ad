import { Node } from "quorate";

// Without a directory the member lives in memory only; alone it is a complete cluster of one.
const node = await Node.open({});
const client = node.client();
await client.put("greeting", "hello");
const { kvs } = await client.get("greeting");
console.log(kvs[0]?.text());
await node.close();
