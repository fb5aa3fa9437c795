// A simulation as a picture: what each lane did, from left to right, as SVG.
import type { Simulated, Span } from './simulate.js';

const lanes: readonly Span['lane'][] = ['compute', 'copy', 'there'];
const names: Readonly<Record<Span['lane'], string>> = { compute: 'compute', copy: 'copies', there: 'computed there' };
const colours: Readonly<Record<Span['kind'], string>> = {
  dense: '#8a8f98',
  hit: '#3b74b8',
  predicted: '#3f9a5d',
  missed: '#c1533b',
  copy: '#b58a2b',
};
const meanings: Readonly<Record<Span['kind'], string>> = {
  dense: 'attention and router',
  hit: 'expert that was there',
  predicted: 'expert copied ahead',
  missed: 'expert not foreseen',
  copy: 'copy',
};

const LEFT = 110; // for names of lanes
const LANE = 34;
const GAP = 10;

/**
 * The lanes of a recorded simulation between two times. Spans with room for it bear their layer and expert, `2.17`; layers have
 * alternating shades behind them where they begin. Waiting is what is left white in the compute lane.
 */
export function timelineSvg(
  { spans, seconds }: Simulated,
  { from = 0, to = seconds, width = 1100 }: { from?: number; to?: number; width?: number } = {},
): string {
  const shown = spans.filter(({ start, end }) => end > from && start < to);
  const used = lanes.filter((lane) => shown.some((span) => span.lane === lane));
  const scale = to > from ? (width - LEFT - 10) / (to - from) : 0;
  const x = (time: number): number => LEFT + (Math.min(Math.max(time, from), to) - from) * scale;
  const y = (lane: Span['lane']): number => GAP + used.indexOf(lane) * (LANE + GAP);
  const height = GAP + used.length * (LANE + GAP) + 44;
  const parts = used.map(
    (lane) =>
      `<text x="4" y="${y(lane) + LANE / 2 + 4}">${names[lane]}</text>` +
      `<rect x="${LEFT}" y="${y(lane)}" width="${width - LEFT - 10}" height="${LANE}" fill="#f1f1ef"/>`,
  );
  for (const span of shown) {
    const left = x(span.start);
    const wide = Math.max(0.5, x(span.end) - left);
    const label = span.expert < 0 ? `${span.layer}` : `${span.layer}.${span.expert}`;
    const title =
      `layer ${span.layer}${span.expert < 0 ? '' : `, expert ${span.expert}`}: ${meanings[span.kind]}, ` +
      `${figure(span.start)} to ${figure(span.end)} s`;
    parts.push(
      `<rect x="${left.toFixed(2)}" y="${y(span.lane)}" width="${wide.toFixed(2)}" height="${LANE}" ` +
        `fill="${colours[span.kind]}" stroke="#fff" stroke-width="0.5"><title>${title}</title></rect>`,
    );
    if (wide > label.length * 7 + 2) {
      parts.push(
        `<text x="${(left + wide / 2).toFixed(2)}" y="${y(span.lane) + LANE / 2 + 4}" text-anchor="middle" fill="#fff">${label}</text>`,
      );
    }
  }
  const axis = height - 34;
  for (let tick = 0; tick <= 10; tick++) {
    const time = from + ((to - from) * tick) / 10;
    parts.push(`<text x="${x(time).toFixed(2)}" y="${axis}" text-anchor="middle" fill="#666">${figure(time)}</text>`);
  }
  let at = LEFT;
  for (const kind of Object.keys(colours) as Span['kind'][]) {
    if (!shown.some((span) => span.kind === kind)) continue;
    parts.push(`<rect x="${at}" y="${height - 20}" width="12" height="12" fill="${colours[kind]}"/>`);
    parts.push(`<text x="${at + 16}" y="${height - 10}">${meanings[kind]}</text>`);
    at += 30 + meanings[kind].length * 7;
  }
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="system-ui, sans-serif" ` +
    `font-size="11" role="img" aria-label="what computes and what is copied, over time">${parts.join('')}</svg>`
  );
}

const figure = (time: number): string => String(Number(time.toPrecision(4)));
