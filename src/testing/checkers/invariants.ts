/** What single workloads keep true, each weaker than linearizability and much simpler to check. */
import { describeOperation, type Operation } from "../history.ts";
import { parseList } from "./transactions.ts";
import { OK, type Verdict, violation } from "./verdict.ts";

/** Elements added to sets by compare-and-set: none that was acknowledged is missing at the end, none refused is there. */
export function checkSet(operations: readonly Operation[], final: ReadonlyMap<string, string>): Verdict {
  for (const operation of operations) {
    const { request } = operation;
    const put = request.kind === "txn" ? request.success.find(({ kind }) => kind === "put") : undefined;
    if (put?.kind !== "put" || !put.key.startsWith("set/")) continue;
    const element = parseList(put.value).at(-1);
    if (element === undefined) continue;
    const there = parseList(final.get(put.key)).includes(element);
    const added = operation.result?.kind === "txn" && operation.result.succeeded;
    const refused = operation.outcome === "fail" || (operation.outcome === "ok" && !added);
    if (added && !there)
      return violation(`${element} was added to ${put.key} and is gone`, [describeOperation(operation)]);
    if (refused && there) {
      return violation(`${element} was refused and is in ${put.key}`, [describeOperation(operation)]);
    }
  }
  return OK;
}

/** The revision of a write is its id: no two are equal, and what was answered before another was called is smaller. */
export function checkUniqueIds(operations: readonly Operation[]): Verdict {
  const given = operations.filter(({ outcome, request }) => outcome === "ok" && request.kind === "put");
  const byEnd = [...given].sort((a, b) => a.returned - b.returned);
  const byCall = [...given].sort((a, b) => a.invoked - b.invoked);
  const owner = new Map<number, Operation>();
  let newest: Operation | undefined;
  let passed = 0;
  for (const operation of byCall) {
    const id = operation.result!.revision;
    const other = owner.get(id);
    if (other !== undefined) {
      return violation(`two writes were given the id ${id}`, [other, operation].map(describeOperation));
    }
    owner.set(id, operation);
    for (; passed < byEnd.length && byEnd[passed]!.returned < operation.invoked; passed++) {
      const earlier = byEnd[passed]!;
      if (newest === undefined || earlier.result!.revision > newest.result!.revision) newest = earlier;
    }
    if (newest !== undefined && newest.result!.revision > id) {
      return violation(
        `the id ${id} was given after ${newest.result!.revision}`,
        [newest, operation].map(describeOperation),
      );
    }
  }
  return OK;
}

/** Money moves between accounts and is never made: every read of all of them shows the same total, and no debt. */
export function checkBank(operations: readonly Operation[], total: number, accounts: number): Verdict {
  for (const operation of operations) {
    const { request, result } = operation;
    if (result?.kind !== "get" || request.kind !== "get" || request.key !== "bank/" || request.end === undefined)
      continue;
    if (result.kvs.length === 0) continue; // before the accounts were opened, in one transaction
    const money = result.kvs.map(({ value }) => Number(value));
    const sum = money.reduce((a, b) => a + b, 0);
    if (money.length !== accounts || sum !== total || money.some((amount) => amount < 0)) {
      return violation(`${money.length} accounts hold ${money.join(" + ")} = ${sum}, not ${total} on ${accounts}`, [
        describeOperation(operation),
      ]);
    }
  }
  return OK;
}
