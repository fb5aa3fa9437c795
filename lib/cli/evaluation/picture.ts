// Right answers by length and depth as a picture: an SVG, or a page that needs nothing else.
import type { NeedleCell, NeedleReport } from '../../model/evaluation/needle.js';
import { percent } from '../quantities.js';

const LEFT = 64; // room for the names of depths
const TOP = 46;
const CELL = { width: 64, height: 32 };

/** SVG. `model` is shown as it is, whatever characters it has. */
export function needlePicture(model: string, report: NeedleReport): string {
  const { lengths, depths, cells } = report;
  const width = Math.max(LEFT + lengths.length * CELL.width + 16, 480);
  const height = TOP + depths.length * CELL.height + 46;
  const text = (x: number, y: number, anchor: string, content: string): string =>
    `<text x="${x}" y="${y}" text-anchor="${anchor}">${escaped(content)}</text>`;
  const middle = (column: number): number => LEFT + (column + 0.5) * CELL.width;
  const boxes = cells.map((cell) => box(cell, lengths.indexOf(cell.length), depths.indexOf(cell.depth)));
  const rows = depths.map((depth, row) => text(LEFT - 8, TOP + (row + 0.5) * CELL.height + 4, 'end', percent(depth)));
  const under = TOP + depths.length * CELL.height;
  const columns = lengths.map((length, column) => text(middle(column), under + 16, 'middle', String(length)));
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" role="img" aria-label="right answers by length and depth">
<style>text { font: 11px system-ui, sans-serif; fill: #222; }</style>
<rect width="${width}" height="${height}" fill="#fff"/>
${text(8, 18, 'start', model)}
${text(8, 34, 'start', summary(report))}
${[...boxes, ...rows, ...columns].join('\n')}
${text(8, under + 16, 'start', 'tokens')}
${text(8, under + 36, 'start', 'Depth: where in the text the value stands.')}
</svg>
`;
}

/** HTML with the picture and the settings. */
export const needlePage = (model: string, report: NeedleReport): string => `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Values found by ${escaped(model)}</title>
<style>body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #222; background: #fff; }</style>
<h1>Values found in long texts</h1>
<p>${escaped(model)}. One of ${report.pairs} values in a text is asked for at its end, by ${escaped(report.question)}, greedily; seed ${report.seed}.</p>
${needlePicture(model, report)}</html>
`;

/** From red (no answer is right) over yellow to green (all are). */
function box({ right, cases, length, depth }: NeedleCell, column: number, row: number): string {
  const [x, y] = [LEFT + column * CELL.width, TOP + row * CELL.height];
  const colour = `hsl(${Math.round(right * 120)}, 65%, 62%)`;
  return (
    `<rect x="${x + 1}" y="${y + 1}" width="${CELL.width - 2}" height="${CELL.height - 2}" fill="${colour}">` +
    `<title>${length} tokens, depth ${percent(depth)}: ${percent(right)} of ${cases}</title></rect>` +
    `<text x="${x + CELL.width / 2}" y="${y + CELL.height / 2 + 4}" text-anchor="middle">${Math.round(right * 100)}</text>`
  );
}

const summary = ({ right, cells, aborted }: NeedleReport): string =>
  `${percent(right)} of ${cells.reduce((sum, { cases }) => sum + cases, 0)} answers are right${aborted ? '; stopped before the end' : ''}`;

const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
