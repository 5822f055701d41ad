/**
 * Transactions over lists: each appends elements that nobody else appends, so a list that was read tells in which order
 * its elements came, and from that which transaction must stand before which (Kingsbury and Alvaro, "Elle"). No order of
 * transactions explains a cycle. Real time counts too: what was answered before another was called stands before it.
 */
import { describeOperation, type HistoryOpResult, type Operation } from "../history.ts";
import { OK, type Verdict, violation } from "./verdict.ts";

/** A list as one value. */
export function parseList(value: string | undefined): readonly string[] {
  return value === undefined || value === "" ? [] : value.split(",");
}

interface Node {
  readonly operation: Operation | undefined;
  readonly out: Map<Node, string>;
}

/** Lists by their keys, as each transaction read and left them. */
interface Lists {
  readonly operation: Operation;
  readonly read: ReadonlyMap<string, readonly string[]>;
  /** The one element it appended to a key, if it did. */
  readonly appended: ReadonlyMap<string, string>;
}

export function checkAppend(operations: readonly Operation[]): Verdict {
  const all = operations.map(listsOf);
  // Who appended an element; an element of a refused transaction that is seen was never written.
  const writer = new Map<string, Lists>();
  for (const lists of all) for (const [key, element] of lists.appended) writer.set(`${key} ${element}`, lists);

  const orders = new Map<string, readonly string[]>();
  const seenIn = new Map<string, Operation>();
  for (const { operation, read, appended } of all) {
    if (operation.outcome !== "ok") continue;
    const after = [...read].map(([key, list]) => {
      const element = appended.get(key);
      return [key, element === undefined ? list : [...list, element]] as const;
    });
    for (const [key, list] of after) {
      const known = orders.get(key) ?? [];
      const longer = list.length > known.length ? list : known;
      const shorter = list.length > known.length ? known : list;
      const fork = shorter.findIndex((element, i) => element !== longer[i]);
      if (fork >= 0) {
        return violation(
          `two orders of ${key}: element ${fork} is ${shorter[fork]} here and ${longer[fork]} there`,
          [seenIn.get(key), operation].filter((one) => one !== undefined).map(describeOperation),
        );
      }
      if (longer === list) {
        orders.set(key, list);
        seenIn.set(key, operation);
      }
    }
  }

  const nodes = new Map<Lists, Node>();
  const nodeOf = (lists: Lists): Node => {
    let node = nodes.get(lists);
    if (node === undefined) {
      node = { operation: lists.operation, out: new Map() };
      nodes.set(lists, node);
    }
    return node;
  };
  for (const [key, order] of orders) {
    for (const [i, element] of order.entries()) {
      const by = writer.get(`${key} ${element}`);
      if (by === undefined || by.operation.outcome === "fail") {
        const sight = describeOperation(seenIn.get(key)!);
        const who = by === undefined ? [] : [describeOperation(by.operation)];
        return violation(`${element} is in ${key}, and nobody's append of it succeeded`, [...who, sight]);
      }
      if (order.indexOf(element) !== i) {
        return violation(`${element} is in ${key} twice`, [
          describeOperation(by.operation),
          describeOperation(seenIn.get(key)!),
        ]);
      }
      const next = order[i + 1] === undefined ? undefined : writer.get(`${key} ${order[i + 1]}`);
      if (next !== undefined && next !== by)
        nodeOf(by).out.set(nodeOf(next), `${key}: ${order[i + 1]} after ${element}`);
    }
  }
  for (const lists of all) {
    if (lists.operation.outcome !== "ok") continue;
    for (const [key, list] of lists.read) {
      const order = orders.get(key) ?? [];
      const last = list.at(-1);
      const from = last === undefined ? undefined : writer.get(`${key} ${last}`);
      if (from !== undefined && from !== lists) nodeOf(from).out.set(nodeOf(lists), `${key}: saw ${last}`);
      const following = order[list.length];
      const overwriter = following === undefined ? undefined : writer.get(`${key} ${following}`);
      if (overwriter !== undefined && overwriter !== lists) {
        nodeOf(lists).out.set(nodeOf(overwriter), `${key}: did not see ${following}`);
      }
    }
    for (const [key, element] of lists.appended) {
      if (orders.get(key)?.includes(element) === true) continue;
      // Later than all that was read of the list, and so than every reader of it.
      const last = orders.get(key)?.at(-1);
      const before = last === undefined ? undefined : writer.get(`${key} ${last}`);
      if (before !== undefined && before !== lists)
        nodeOf(before).out.set(nodeOf(lists), `${key}: ${element} after ${last}`);
    }
  }
  realTime([...nodes].map(([lists, node]) => [lists.operation, node]));
  const cycle = findCycle([...nodes.values()]);
  if (cycle === undefined) return OK;
  const lines = cycle.flatMap(({ node, why }) =>
    node.operation === undefined ? [] : [`${describeOperation(node.operation)}  then, by ${why}:`],
  );
  return violation(`no order of transactions explains ${lines.length} of them: each must stand before the next`, lines);
}

/** Edges through instants: an operation leads to its end's instant, instants to later ones, and those to calls after them. */
function realTime(operations: readonly (readonly [Operation, Node])[]): void {
  const ended = operations.filter(([{ returned }]) => returned !== Infinity);
  const moments = [...ended].sort((a, b) => a[0].returned - b[0].returned);
  const instants: { readonly at: number; readonly node: Node }[] = [];
  for (const [operation, node] of moments) {
    const instant: Node = { operation: undefined, out: new Map() };
    instants.at(-1)?.node.out.set(instant, "real time");
    node.out.set(instant, "real time");
    instants.push({ at: operation.returned, node: instant });
  }
  let passed = 0;
  for (const [operation, node] of [...operations].sort((a, b) => a[0].invoked - b[0].invoked)) {
    while (passed < instants.length && instants[passed]!.at < operation.invoked) passed++;
    if (passed > 0) instants[passed - 1]!.node.out.set(node, "real time");
  }
}

/** The shortest cycle through one of the strongly connected parts, with the reason of each step. */
function findCycle(nodes: readonly Node[]): readonly { readonly node: Node; readonly why: string }[] | undefined {
  const state = new Map<Node, "open" | "done">();
  for (const root of nodes) {
    if (state.has(root)) continue;
    const stack: { readonly node: Node; readonly edges: Iterator<[Node, string]> }[] = [];
    const enter = (node: Node): void => {
      state.set(node, "open");
      stack.push({ node, edges: node.out.entries() });
    };
    enter(root);
    while (stack.length > 0) {
      const top = stack.at(-1)!;
      const step = top.edges.next();
      if (step.done === true) {
        state.set(top.node, "done");
        stack.pop();
        continue;
      }
      const [next] = step.value;
      if (state.get(next) === "open") return shortest(next);
      if (!state.has(next)) enter(next);
    }
  }
  return undefined;
}

function shortest(start: Node): readonly { readonly node: Node; readonly why: string }[] {
  const from = new Map<Node, { readonly node: Node; readonly why: string }>();
  const queue: Node[] = [start];
  for (let i = 0; i < queue.length; i++) {
    const node = queue[i]!;
    for (const [next, why] of node.out) {
      if (next === start) {
        const path = [{ node, why }];
        for (let at = node; at !== start; at = path[0]!.node) path.unshift(from.get(at)!);
        return path;
      }
      if (from.has(next)) continue;
      from.set(next, { node, why });
      queue.push(next);
    }
  }
  return [];
}

function listsOf(operation: Operation): Lists {
  const read = new Map<string, readonly string[]>();
  const appended = new Map<string, string>();
  const { request, result } = operation;
  const told: readonly HistoryOpResult[] =
    result === undefined ? [] : result.kind === "txn" ? result.results : [result];
  const succeeded = result?.kind !== "txn" || result.succeeded;
  const ops = request.kind === "txn" ? (succeeded ? request.success : request.failure) : [request];
  ops.forEach((op, i) => {
    const one = told[i];
    if (op.kind === "get" && one?.kind === "get" && op.end === undefined) {
      if (!appended.has(op.key)) read.set(op.key, parseList(one.kvs[0]?.value));
    } else if (op.kind === "put") {
      const element = parseList(op.value).at(-1);
      if (element !== undefined) appended.set(op.key, element);
    }
  });
  return { operation, read, appended };
}
