/** Line charts as SVG, drawn by hand: a few axes and lines are not worth a dependency. Readable on light and dark pages. */

export interface Point {
  readonly x: number;
  readonly y: number;
  /** Written beside it. */
  readonly label?: string;
}

export interface Chart {
  readonly title: string;
  readonly xTitle: string;
  readonly yTitle: string;
  readonly series: readonly { readonly name: string; readonly points: readonly Point[] }[];
}

const WIDTH = 420;
const HEIGHT = 320;
const LEFT = 62;
const RIGHT = 18;
const TOP = 34;
const BOTTOM = 46;
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00"];

/** Side by side in one picture, both axes logarithmic. */
export function svg(charts: readonly Chart[]): string {
  const names = [...new Set(charts.flatMap(({ series }) => series.map(({ name }) => name)))];
  const colour = (name: string): string => COLOURS[names.indexOf(name) % COLOURS.length]!;
  const width = charts.length * WIDTH;
  const height = HEIGHT + 26;
  const apart = Math.min(110, (width - LEFT) / names.length);
  const legend = names.map(
    (name, i) =>
      `<circle cx="${LEFT + i * apart}" cy="${HEIGHT + 10}" r="4" fill="${colour(name)}"/>` +
      text(LEFT + 9 + i * apart, HEIGHT + 14, name),
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="sans-serif" font-size="11">`,
    `<title>${escaped(charts.map(({ title }) => title).join("; "))}</title>`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    ...charts.map((chart, i) => `<g transform="translate(${i * WIDTH} 0)">${panel(chart, colour)}</g>`),
    ...legend,
    "</svg>",
    "",
  ].join("\n");
}

function panel({ title, xTitle, yTitle, series }: Chart, colour: (name: string) => string): string {
  const points = series.flatMap((each) => each.points);
  const x = axis(
    points.map((point) => point.x),
    LEFT,
    WIDTH - RIGHT,
  );
  const y = axis(
    points.map((point) => point.y),
    HEIGHT - BOTTOM,
    TOP,
  );
  const parts = [
    text(LEFT, 20, title, 'font-weight="bold" font-size="13"'),
    text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, xTitle, 'text-anchor="middle"'),
    text(0, 0, yTitle, `text-anchor="middle" transform="translate(14 ${(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)"`),
  ];
  for (const tick of x.ticks) {
    const at = round(x.at(tick));
    parts.push(line(at, TOP, at, HEIGHT - BOTTOM), text(at, HEIGHT - BOTTOM + 15, short(tick), 'text-anchor="middle"'));
  }
  for (const tick of y.ticks) {
    const at = round(y.at(tick));
    parts.push(line(LEFT, at, WIDTH - RIGHT, at), text(LEFT - 6, at + 4, short(tick), 'text-anchor="end"'));
  }
  for (const { name, points: own } of series) {
    const at = own.map((point) => [round(x.at(point.x)), round(y.at(point.y))] as const);
    const path = at.map(([px, py]) => `${px},${py}`).join(" ");
    parts.push(`<polyline points="${path}" fill="none" stroke="${colour(name)}" stroke-width="2"/>`);
    for (const [i, [px, py]] of at.entries()) {
      parts.push(`<circle cx="${px}" cy="${py}" r="3.5" fill="${colour(name)}"/>`);
      const label = own[i]!.label;
      if (label !== undefined) parts.push(text(px + 6, py - 6, label, `fill="${colour(name)}"`));
    }
  }
  return parts.join("");
}

interface Axis {
  readonly ticks: readonly number[];
  at(value: number): number;
}

/** From the power of ten, or its double or fivefold, below the lowest value to the one above the highest. */
function axis(values: readonly number[], from: number, to: number): Axis {
  const positive = values.filter((value) => value > 0);
  const steps = Array.from({ length: 17 }, (_, i) => i - 4).flatMap((power) => [1, 2, 5].map((n) => n * 10 ** power));
  const low = steps.findLast((step) => step <= Math.min(...positive)) ?? steps[0]!;
  const high = steps.find((step) => step >= Math.max(...positive) && step > low) ?? steps.at(-1)!;
  let ticks = steps.filter((step) => step >= low && step <= high);
  if (ticks.length > 7) ticks = ticks.filter((tick) => Number.isInteger(round(Math.log10(tick))));
  const span = Math.log(high) - Math.log(low);
  return { ticks, at: (value) => from + ((to - from) * (Math.log(value) - Math.log(low))) / span };
}

function line(x1: number, y1: number, x2: number, y2: number): string {
  return `<line x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}" stroke="#dddddd"/>`;
}

function escaped(content: string): string {
  return content.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}

function text(x: number, y: number, content: string, attributes = ""): string {
  return `<text x="${x}" y="${y}" fill="#333333" ${attributes}>${escaped(content)}</text>`.replace(
    /fill="#333333" (.*fill=)/,
    "$1",
  );
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

function short(value: number): string {
  if (value >= 1e6) return `${value / 1e6}M`;
  return value >= 1e3 ? `${value / 1e3}k` : String(Number(value.toPrecision(3)));
}
