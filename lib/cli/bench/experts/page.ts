// Simulated policies as a page that needs nothing else: a table, and of each policy what its lanes do for one token.
import type { ComparedPolicy } from '../../../experts/simulate/compare.js';
import { timelineSvg } from '../../../experts/simulate/timeline.js';
import { amount, percent } from '../../quantities.js';
import type { MeasuredPolicies } from './measure.js';

/** Headings, then a line per policy. */
export const figures = (rows: readonly ComparedPolicy[]): string[][] => [
  ['policy', 'ms per token', 'of it waiting', 'there', 'copied ahead', 'missed', 'link busy'],
  ...rows.map((row) => [
    row.policy,
    amount(1000 * row.secondsPerStep),
    amount(1000 * row.stallPerStep),
    percent(row.hitRate),
    percent(row.predictedRate),
    percent(row.missedRate),
    percent(row.linkBusy),
  ]),
];

/** The same for policies that were measured, and what the simulator said of them. */
export const measuredFigures = ({ policies }: MeasuredPolicies): string[][] => [
  ['policy', 'prompt ms', 'ms per token', 'simulated', 'prompt', 'waiting ms', 'there', 'foreseen', 'MB copied'],
  ...policies.map(({ policy, promptMs, msPerToken, simulated, statistics }) => [
    policy,
    amount(promptMs.median),
    amount(msPerToken.median),
    simulated ? amount(simulated.msPerToken) : '',
    simulated ? amount(simulated.promptMs) : '',
    amount(statistics.stallMs),
    percent(statistics.hitRate),
    statistics.accuracy === undefined ? '' : percent(statistics.accuracy),
    amount(statistics.bytesCopied / 1e6),
  ]),
];

/** From when to when the last run went: the caches are as warm as they get. */
export function lastRun({ simulated }: ComparedPolicy): { from: number; to: number } {
  const { seconds, stepSeconds } = simulated;
  return { from: seconds - stepSeconds[stepSeconds.length - 1], to: seconds };
}

/** HTML. All timelines have the scale of the slowest one. */
export function simulationPage(title: string, rows: readonly ComparedPolicy[]): string {
  const line = (cells: readonly string[], name: string): string =>
    `<tr>${cells.map((cell) => `<${name}>${cell}</${name}>`).join('')}</tr>`;
  const longest = Math.max(...rows.map(({ simulated }) => simulated.stepSeconds[simulated.stepSeconds.length - 1]));
  const pictures = rows.map((row) => {
    const { from } = lastRun(row);
    return `<h3>${row.policy}</h3>\n${timelineSvg(row.simulated, { from, to: from + longest })}`;
  });
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Experts that do not fit</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #222; background: #fff; }
table { border-collapse: collapse; } th, td { padding: 0.2rem 0.9rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; }
</style>
<h1>Experts that do not fit, simulated</h1>
<p>${title.replaceAll('&', '&amp;').replaceAll('<', '&lt;')}</p>
<table>
${figures(rows)
  .map((cells, index) => line(cells, index === 0 ? 'th' : 'td'))
  .join('\n')}
</table>
<h2>The last token</h2>
${pictures.join('\n')}
</html>
`;
}
