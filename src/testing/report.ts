/**
 * One run as one page to look at: everything is in it, it loads nothing and runs nothing. Text in, text out: `run` is the
 * run's summary (run.json) and `history` its history (history.jsonl, docs/history-format.md).
 */
import type { Verdict } from "./checkers/verdict.ts";
import { History, type HistoryRecord, operationsOf } from "./history.ts";

/** run.json: what a run was and came to. */
export interface RunSummary {
  readonly harness: "simulator" | "jepsen";
  readonly ok: boolean;
  /** The command that does it again. */
  readonly replay: string;
  readonly nodes: number;
  readonly workload: string;
  readonly durationMs: number;
  readonly verdicts: Readonly<Record<string, Verdict>>;
  readonly operations: Readonly<Record<string, number>>;
  readonly errors: Readonly<Record<string, number>>;
  /** How often each kind of fault struck, and each rare event happened. */
  readonly faults: Readonly<Record<string, number>>;
  readonly rareEvents: Readonly<Record<string, number>>;
  /** Faults that this machine does not allow, with the reason. */
  readonly skipped: Readonly<Record<string, string>>;
}

const WIDTH = 1_160;
const LEFT = 130;
const RIGHT = 20;
const CHART = 180;
const RATE = 90;
const ROW = 26;
const BAND_ROW = 16;
const GAP = 22;
/** More points than that are thinned out: the slowest and the failed ones stay. */
const POINTS_MAX = 6_000;

interface Point {
  readonly time: number;
  readonly ms: number;
  readonly outcome: "ok" | "fail" | "unknown";
  readonly label: string;
}

interface Band {
  readonly fault: string;
  readonly detail: string;
  readonly from: number;
  readonly to: number;
}

interface Span {
  readonly member: string;
  readonly role: string;
  readonly term: number;
  readonly from: number;
  readonly to: number;
}

/** Gives the page. Throws where one of the texts is not what it should be. */
export function renderReport(run: string, history: string): string {
  const summary = JSON.parse(run) as RunSummary;
  const { records } = History.parse(history);
  let end = Math.max(1, summary.durationMs);
  for (const { time } of records) if (time > end) end = time;
  const points = pointsOf(records, end);
  const bands = bandsOf(records, end);
  const spans = spansOf(records, end);
  const verdict = summary.ok ? "every promise held" : "a promise was broken";
  const title = `quorate: ${summary.harness}, ${summary.workload} on ${summary.nodes} nodes: ${verdict}`;
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${text(title)}</title>
<meta name="viewport" content="width=device-width">
<style>${STYLE}</style></head><body>
<h1>${text(title)}</h1>
<p class="facts">${facts(summary, records)}</p>
<p class="facts">Again: <code>${text(summary.replay)}</code></p>
${verdictTable(summary.verdicts)}
<h2>Operations, faults, and who led</h2>
${chart(points, bands, spans, end)}
${legend(bands)}
${fragments(summary.verdicts)}
<h2>Counters</h2>
<div class="columns">
${counterTable("Operations", summary.operations)}
${counterTable("Faults", summary.faults)}
${counterTable("Rare events", summary.rareEvents)}
${counterTable("Errors", summary.errors)}
${Object.keys(summary.skipped).length === 0 ? "" : counterTable("Skipped", summary.skipped)}
</div>
<h2>Fault schedule</h2>
${schedule(bands)}
</body></html>
`;
}

/** The faults of a history as JSON Lines: {"fault","detail","from","to"}. */
export function faultSchedule(history: string): string {
  const { records } = History.parse(history);
  // What is not over lasts to the end of what is known.
  const end = records.reduce((last, { time }) => Math.max(last, time), 0);
  return bandsOf(records, end)
    .map((band) => `${JSON.stringify(band)}\n`)
    .join("");
}

function pointsOf(records: readonly HistoryRecord[], end: number): readonly Point[] {
  const points: Point[] = operationsOf(records).map((operation) => {
    const { invoked, returned, outcome, request, error, op } = operation;
    const ms = (returned === Infinity ? end : returned) - invoked;
    const what = outcome === "ok" ? "" : ` (${error ?? "no answer"})`;
    return { time: invoked, ms, outcome, label: `#${op} ${request.kind}, ${ms.toFixed(1)} ms, ${outcome}${what}` };
  });
  // An operation of unknown outcome ended for its client when it was told so.
  const told = new Map<number, number>();
  for (const record of records) if (record.type === "info") told.set(record.op, record.time);
  for (const [i, operation] of operationsOf(records).entries()) {
    const at = told.get(operation.op);
    if (at !== undefined) points[i] = { ...points[i]!, ms: at - operation.invoked };
  }
  for (const record of records) {
    if (record.type !== "call") continue;
    const { time, ms, outcome, name, error } = record;
    const what = error === undefined ? "" : ` (${error})`;
    points.push({ time: time - ms, ms, outcome, label: `${name}, ${ms.toFixed(1)} ms, ${outcome}${what}` });
  }
  return points;
}

function bandsOf(records: readonly HistoryRecord[], end: number): readonly Band[] {
  const bands: Band[] = [];
  const open = new Map<number, Band>();
  for (const record of records) {
    if (record.type !== "fault") continue;
    const { fault, detail, id, time } = record;
    const begun = open.get(id);
    if (record.phase === "begin") open.set(id, { fault, detail, from: time, to: end });
    else if (begun !== undefined) {
      open.delete(id);
      bands.push({ ...begun, to: time });
    }
  }
  return [...bands, ...open.values()].sort((a, b) => a.from - b.from);
}

function spansOf(records: readonly HistoryRecord[], end: number): readonly Span[] {
  const spans: Span[] = [];
  const now = new Map<string, Span>();
  for (const record of records) {
    if (record.type !== "role") continue;
    const { member, role, term, time } = record;
    const before = now.get(member);
    if (before !== undefined) spans.push({ ...before, to: time });
    now.set(member, { member, role, term, from: time, to: end });
  }
  return [...spans, ...now.values()];
}

function chart(points: readonly Point[], bands: readonly Band[], spans: readonly Span[], end: number): string {
  const kinds = [...new Set(bands.map(({ fault }) => fault))];
  const members = [...new Set(spans.map(({ member }) => member))].sort();
  const x = (time: number): number => LEFT + (time / end) * (WIDTH - LEFT - RIGHT);
  const latencyTop = 10;
  const rateTop = latencyTop + CHART + GAP;
  const rolesTop = rateTop + RATE + GAP;
  const faultsTop = rolesTop + members.length * ROW + GAP;
  const height = faultsTop + kinds.length * BAND_ROW + 30;
  const parts: string[] = [];

  for (const band of bands) {
    const width = Math.max(1, x(band.to) - x(band.from));
    const color = colorOf(kinds, band.fault);
    const label = `${band.fault} ${band.detail}: ${seconds(band.from)} to ${seconds(band.to)}`;
    parts.push(
      `<rect class="fault-band" data-fault="${text(band.fault)}" x="${fix(x(band.from))}" y="${latencyTop}" width="${fix(width)}" height="${rolesTop - latencyTop - GAP}" fill="${color}" opacity="0.13"><title>${text(label)}</title></rect>`,
    );
    const y = faultsTop + kinds.indexOf(band.fault) * BAND_ROW;
    parts.push(
      `<rect x="${fix(x(band.from))}" y="${y + 2}" width="${fix(width)}" height="${BAND_ROW - 4}" fill="${color}"><title>${text(label)}</title></rect>`,
    );
  }

  // Latency, on a scale of powers of ten.
  const slowest = points.reduce((most, { ms }) => Math.max(most, ms), 10);
  const top = Math.ceil(Math.log10(slowest));
  const y = (ms: number): number => latencyTop + CHART - ((Math.log10(Math.max(ms, 0.1)) + 1) / (top + 1)) * CHART;
  for (let power = -1; power <= top; power++) {
    const at = fix(y(10 ** power));
    parts.push(`<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${at}" y2="${at}"/>`);
    parts.push(`<text class="tick" x="${LEFT - 6}" y="${Number(at) + 4}" text-anchor="end">${10 ** power} ms</text>`);
  }
  for (const { time, ms, outcome, label } of thinned(points)) {
    parts.push(
      `<circle class="op ${outcome}" cx="${fix(x(time))}" cy="${fix(y(ms))}" r="1.8"><title>${text(`${seconds(time)} ${label}`)}</title></circle>`,
    );
  }

  // Rate.
  const buckets = 200;
  const rates = new Array<number>(buckets).fill(0);
  for (const { time, ms, outcome } of points) {
    if (outcome !== "ok") continue;
    const at = Math.min(buckets - 1, Math.floor(((time + ms) / end) * buckets));
    rates[at] = rates[at]! + 1;
  }
  const perSecond = rates.map((count) => (count * buckets * 1_000) / end);
  const most = Math.max(1, ...perSecond);
  const line = perSecond.map((rate, i) => {
    const at = x(((i + 0.5) / buckets) * end);
    return `${fix(at)},${fix(rateTop + RATE - (rate / most) * RATE)}`;
  });
  parts.push(`<polyline class="rate" points="${line.join(" ")}"/>`);
  parts.push(`<text class="tick" x="${LEFT - 6}" y="${rateTop + 8}" text-anchor="end">${most.toFixed(0)}/s</text>`);
  parts.push(`<text class="tick" x="${LEFT - 6}" y="${rateTop + RATE}" text-anchor="end">0/s</text>`);

  for (const [i, member] of members.entries()) {
    const rowTop = rolesTop + i * ROW;
    parts.push(
      `<text class="tick" x="${LEFT - 6}" y="${rowTop + ROW / 2 + 4}" text-anchor="end">${text(member)}</text>`,
    );
    for (const span of spans) {
      if (span.member !== member) continue;
      const width = Math.max(0.5, x(span.to) - x(span.from));
      const label = `${member}: ${span.role}, term ${span.term}, ${seconds(span.from)} to ${seconds(span.to)}`;
      parts.push(
        `<rect class="role ${span.role}" data-member="${text(member)}" data-term="${span.term}" x="${fix(x(span.from))}" y="${rowTop + 3}" width="${fix(width)}" height="${ROW - 6}"><title>${text(label)}</title></rect>`,
      );
      if (span.role === "leader" && width > 24) {
        parts.push(
          `<text class="term" x="${fix(x(span.from) + 4)}" y="${rowTop + ROW / 2 + 4}">term ${span.term}</text>`,
        );
      }
    }
  }
  for (const [i, kind] of kinds.entries()) {
    parts.push(
      `<text class="tick" x="${LEFT - 6}" y="${faultsTop + i * BAND_ROW + 12}" text-anchor="end">${text(kind.slice(0, 22))}</text>`,
    );
  }
  for (let i = 0; i <= 10; i++) {
    const time = (end * i) / 10;
    parts.push(`<text class="tick" x="${fix(x(time))}" y="${height - 8}" text-anchor="middle">${seconds(time)}</text>`);
  }
  return `<svg id="chart" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="latency and rate of operations, faults, leaders">
<text class="axis" x="${LEFT}" y="${latencyTop + 8}">latency</text><text class="axis" x="${LEFT}" y="${rateTop - 4}">operations that succeeded, per second</text><text class="axis" x="${LEFT}" y="${rolesTop - 4}">leader and term of each node</text><text class="axis" x="${LEFT}" y="${faultsTop - 4}">faults</text>
${parts.join("\n")}
</svg>`;
}

function thinned(points: readonly Point[]): readonly Point[] {
  if (points.length <= POINTS_MAX) return points;
  const byNeed = [...points].sort((a, b) => Number(a.outcome === "ok") - Number(b.outcome === "ok") || b.ms - a.ms);
  const kept = byNeed.slice(0, POINTS_MAX / 2);
  const rest = byNeed.slice(POINTS_MAX / 2);
  const every = Math.ceil(rest.length / (POINTS_MAX / 2));
  return [...kept, ...rest.filter((_, i) => i % every === 0)];
}

function facts(summary: RunSummary, records: readonly HistoryRecord[]): string {
  const leaders = new Set<string>();
  for (const record of records) if (record.type === "role" && record.role === "leader") leaders.add(`${record.term}`);
  const faults = Object.values(summary.faults).reduce((sum, count) => sum + count, 0);
  const ok = summary.operations.ok ?? 0;
  return text(
    `${seconds(summary.durationMs)}, ${ok} operations that succeeded, ${faults} faults, ${leaders.size} terms with a leader`,
  );
}

function verdictTable(verdicts: Readonly<Record<string, Verdict>>): string {
  const rows = Object.entries(verdicts).map(([promise, verdict]) => {
    const why = verdict.verdict === "ok" ? "" : verdict.message;
    return `<tr class="verdict ${verdict.verdict}" data-promise="${text(promise)}"><td>${text(promise)}</td><td class="word">${verdict.verdict}</td><td>${text(why)}</td></tr>`;
  });
  return `<h2>Promises</h2><table id="verdicts"><tbody>${rows.join("\n")}</tbody></table>`;
}

function fragments(verdicts: Readonly<Record<string, Verdict>>): string {
  const parts = Object.entries(verdicts).flatMap(([promise, verdict]) => {
    if (verdict.verdict !== "violation") return [];
    const lines = verdict.fragment ?? [verdict.message];
    return [
      `<h2>What breaks "${text(promise)}"</h2><p>${text(verdict.message)}</p><pre class="fragment" data-promise="${text(promise)}">${lines.map(text).join("\n")}</pre>`,
    ];
  });
  return parts.join("\n");
}

function counterTable(title: string, counters: Readonly<Record<string, number | string>>): string {
  const rows = Object.entries(counters).map(
    ([name, count]) =>
      `<tr class="${count === 0 ? "zero" : ""}"><td>${text(name)}</td><td class="number">${text(String(count))}</td></tr>`,
  );
  return `<table class="counters"><caption>${text(title)}</caption><tbody>${rows.join("")}</tbody></table>`;
}

function schedule(bands: readonly Band[]): string {
  const rows = bands.map(
    ({ fault, detail, from, to }) =>
      `<tr><td class="number">${seconds(from)}</td><td class="number">${seconds(to)}</td><td>${text(fault)}</td><td>${text(detail)}</td></tr>`,
  );
  return `<table id="schedule"><thead><tr><th>from</th><th>to</th><th>fault</th><th></th></tr></thead><tbody>${rows.join("\n")}</tbody></table>`;
}

function legend(bands: readonly Band[]): string {
  const kinds = [...new Set(bands.map(({ fault }) => fault))];
  const faults = kinds.map((kind) => `<span><i style="background:${colorOf(kinds, kind)}"></i>${text(kind)}</span>`);
  return `<p class="legend"><span><i class="ok"></i>succeeded</span><span><i class="fail"></i>refused</span><span><i class="unknown"></i>unknown</span><span><i class="leader"></i>leader</span><span><i class="candidate"></i>candidate</span><span><i class="down"></i>down</span>${faults.join("")}</p>`;
}

function colorOf(kinds: readonly string[], kind: string): string {
  // The golden angle keeps neighbours apart.
  return `hsl(${Math.round((kinds.indexOf(kind) * 137.5) % 360)} 65% 50%)`;
}

const seconds = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`;
const fix = (value: number): string => value.toFixed(1);

function text(value: string): string {
  return value.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);
}

const STYLE = `
:root { color-scheme: light dark; --ink: #1d2430; --soft: #6a7383; --line: #d9dee6; --paper: #fff; --good: #1b8a4b; --bad: #c62f3b; --odd: #b9770e; --lead: #2f6fd0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --soft: #98a2b3; --line: #323a46; --paper: #161a20; --good: #4cc585; --bad: #ff6b75; --odd: #e5a93d; --lead: #6ea3f5; } }
body { font: 14px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: ${WIDTH}px; margin: 24px auto; padding: 0 16px; }
h1 { font-size: 20px; } h2 { font-size: 16px; margin: 28px 0 8px; }
.facts { color: var(--soft); margin: 4px 0; } code, pre { font: 12px/1.5 ui-monospace, monospace; }
pre { overflow: auto; border: 1px solid var(--line); padding: 10px; }
table { border-collapse: collapse; } td, th { padding: 2px 14px 2px 0; text-align: left; vertical-align: top; }
caption { text-align: left; font-weight: 600; } .number { text-align: right; font-variant-numeric: tabular-nums; }
.columns { display: flex; flex-wrap: wrap; gap: 12px 48px; align-items: flex-start; } .zero { color: var(--soft); }
.ok .word { color: var(--good); } .violation .word { color: var(--bad); font-weight: 700; } .unknown .word { color: var(--odd); font-weight: 700; }
svg { width: 100%; height: auto; } .grid { stroke: var(--line); stroke-width: 0.6; } .tick { font-size: 10px; fill: var(--soft); } .axis { font-size: 11px; fill: var(--ink); }
.rate { fill: none; stroke: var(--lead); stroke-width: 1.4; }
.op.ok { fill: var(--good); opacity: 0.6; } .op.fail { fill: var(--odd); } .op.unknown { fill: var(--bad); }
.role { fill: var(--line); } .role.leader { fill: var(--lead); } .role.candidate, .role.preCandidate { fill: var(--odd); } .role.down { fill: var(--bad); opacity: 0.35; } .role.paused { fill: var(--soft); }
.term { font-size: 10px; fill: #fff; }
.legend span { margin-right: 14px; white-space: nowrap; color: var(--soft); } .legend i { display: inline-block; width: 10px; height: 10px; margin-right: 4px; border-radius: 2px; }
.legend .ok { background: var(--good); } .legend .fail { background: var(--odd); } .legend .unknown { background: var(--bad); } .legend .leader { background: var(--lead); } .legend .candidate { background: var(--odd); } .legend .down { background: var(--bad); opacity: 0.35; }
`;
