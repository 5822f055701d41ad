/**
 * Which watchers a changed key concerns: exact keys in a Map, ranges in an interval tree, so that ten thousand watchers
 * cost a change no more than the few that it wakes.
 */
import { prng } from "../base/prng.ts";
import type { Span } from "../kv/range.ts";

/** All watchers of one range, in a treap ordered by (low, high). */
interface Node<W> {
  readonly low: string;
  readonly high: string;
  readonly watchers: Set<W>;
  /** Above those of its children: what keeps the tree flat, whatever the order in which ranges come. */
  readonly priority: number;
  left: Node<W> | undefined;
  right: Node<W> | undefined;
  /** Highest end of any range in this subtree. */
  reach: string;
}

export class WatchIndex<W> {
  readonly #exact = new Map<string, Set<W>>();
  #root: Node<W> | undefined;
  #size = 0;
  /** Seeded by a constant: two runs of a simulation build the same tree. */
  readonly #random = prng(0x77617463);

  /** Watchers in the index; one that watches two spans counts twice. */
  get size(): number {
    return this.#size;
  }

  /** A range that is empty (its end not above its beginning) matches nothing. The same watcher twice in one span is once. */
  add(span: Span, watcher: W): void {
    let watchers: Set<W> | undefined;
    if (span.single) {
      watchers = this.#exact.get(span.low);
      if (watchers === undefined) this.#exact.set(span.low, (watchers = new Set()));
    } else {
      watchers = find(this.#root, span)?.watchers;
      if (watchers === undefined) {
        const node = {
          low: span.low,
          high: span.high,
          watchers: (watchers = new Set<W>()),
          priority: this.#random(),
          left: undefined,
          right: undefined,
          reach: span.high,
        };
        this.#root = insert(this.#root, node);
      }
    }
    if (watchers.has(watcher)) return;
    watchers.add(watcher);
    this.#size += 1;
  }

  /** False if it was not there. */
  remove(span: Span, watcher: W): boolean {
    const watchers = span.single ? this.#exact.get(span.low) : find(this.#root, span)?.watchers;
    if (watchers === undefined || !watchers.delete(watcher)) return false;
    this.#size -= 1;
    if (watchers.size > 0) return true;
    if (span.single) this.#exact.delete(span.low);
    else this.#root = remove(this.#root!, span);
    return true;
  }

  /**
   * Visits each watcher whose span holds `key` (a byte string), and no other; always in the same order: exact keys, then
   * ranges by (low, high), each in the order of their coming. `visit` must not add or remove watchers. Returns the work it
   * was: watchers visited and ranges looked at.
   */
  matches(key: string, visit: (watcher: W) => void): number {
    const exact = this.#exact.get(key);
    if (exact === undefined) return stab(this.#root, key, visit);
    for (const watcher of exact) visit(watcher);
    return exact.size + stab(this.#root, key, visit);
  }
}

/** Negative if `a` comes before the node `b`. */
function compare(a: Span | Node<unknown>, b: Node<unknown>): number {
  if (a.low !== b.low) return a.low < b.low ? -1 : 1;
  return a.high < b.high ? -1 : a.high > b.high ? 1 : 0;
}

function find<W>(node: Node<W> | undefined, span: Span): Node<W> | undefined {
  while (node !== undefined) {
    const order = compare(span, node);
    if (order === 0) return node;
    node = order < 0 ? node.left : node.right;
  }
  return undefined;
}

/**
 * A subtree is entered only if some range in it ends above `key`. Left of a node that begins at or below `key` such a range
 * is a match, so whatever is visited off the path to `key` leads to one.
 */
function stab<W>(node: Node<W> | undefined, key: string, visit: (watcher: W) => void): number {
  let work = 0;
  for (; node !== undefined && node.reach > key; node = node.right) {
    work += 1 + stab(node.left, key, visit);
    if (node.low > key) break;
    if (node.high <= key) continue;
    for (const watcher of node.watchers) visit(watcher);
    work += node.watchers.size;
  }
  return work;
}

function insert<W>(root: Node<W> | undefined, node: Node<W>): Node<W> {
  if (root === undefined) return node;
  if (node.priority > root.priority) {
    [node.left, node.right] = split(root, node);
    return measured(node);
  }
  if (compare(node, root) < 0) root.left = insert(root.left, node);
  else root.right = insert(root.right, node);
  return measured(root);
}

/** What comes before `at`, and what comes after it. */
function split<W>(root: Node<W> | undefined, at: Node<W>): [Node<W> | undefined, Node<W> | undefined] {
  if (root === undefined) return [undefined, undefined];
  if (compare(root, at) < 0) {
    const [before, after] = split(root.right, at);
    root.right = before;
    return [measured(root), after];
  }
  const [before, after] = split(root.left, at);
  root.left = after;
  return [before, measured(root)];
}

function remove<W>(root: Node<W>, span: Span): Node<W> | undefined {
  const order = compare(span, root);
  if (order === 0) return join(root.left, root.right);
  if (order < 0) root.left = remove(root.left!, span);
  else root.right = remove(root.right!, span);
  return measured(root);
}

/** Everything in `before` comes before everything in `after`. */
function join<W>(before: Node<W> | undefined, after: Node<W> | undefined): Node<W> | undefined {
  if (before === undefined) return after;
  if (after === undefined) return before;
  if (before.priority > after.priority) {
    before.right = join(before.right, after);
    return measured(before);
  }
  after.left = join(before, after.left);
  return measured(after);
}

function measured<W>(node: Node<W>): Node<W> {
  let reach = node.high;
  if (node.left !== undefined && node.left.reach > reach) reach = node.left.reach;
  if (node.right !== undefined && node.right.reach > reach) reach = node.right.reach;
  node.reach = reach;
  return node;
}
