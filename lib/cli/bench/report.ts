// The comparison of drafters as a page that needs nothing else: a table, and bars of acceptance by position as inline SVG.
import { amount, percent } from '../quantities.js';
import type { Comparison, ComparisonRow } from './drafters.js';

const WIDTH = 28; // of a bar and its gap
const HEIGHT = 120;

/** HTML. `model` and `prompt` are shown as they are, whatever characters they have. */
export function comparisonPage(model: string, prompt: string, comparison: Comparison): string {
  const { promptTokens, generate, repeat, drafters } = comparison;
  const heads = ['drafter', 'tokens per round', 'acceptance', 'tokens/s', 'least to most', 'ratio to plain', 'text'];
  const rows = drafters.map((row) => [
    row.drafter,
    row.tokensPerRound.toFixed(2),
    row.drafted === 0 ? '–' : percent(row.acceptance),
    amount(row.tokensPerSecond.median),
    `${amount(row.tokensPerSecond.min)} to ${amount(row.tokensPerSecond.max)}`,
    row.ratio.toFixed(2),
    row.sameTokens ? 'same' : 'differs',
  ]);
  const line = (cells: readonly string[], name: string): string =>
    `<tr>${cells.map((cell) => `<${name}>${escaped(cell)}</${name}>`).join('')}</tr>`;
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Drafters of ${escaped(model)}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #222; background: #fff; }
table { border-collapse: collapse; } th, td { padding: 0.2rem 0.9rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; } pre { white-space: pre-wrap; background: #f4f4f4; padding: 0.6rem; }
svg text { font: 10px system-ui, sans-serif; fill: #444; }
</style>
<h1>Drafters</h1>
<p>${escaped(model)}: ${promptTokens} tokens of prompt, ${generate} generated greedily, ${repeat} runs of each in turns, medians.</p>
<pre>${escaped(prompt)}</pre>
<table>
${line(heads, 'th')}
${rows.map((row) => line(row, 'td')).join('\n')}
</table>
<h2>Acceptance by position</h2>
<p>Of the drafts that had a token so far behind the text's end, the share that kept one there.</p>
${drafters
  .filter(({ drafted }) => drafted > 0)
  .map(bars)
  .join('\n')}
</html>
`;
}

function bars({ drafter, acceptanceByPosition }: ComparisonRow): string {
  const shapes = acceptanceByPosition.map((share, index) => {
    const height = Math.round(share * HEIGHT);
    const x = index * WIDTH;
    const middle = x + WIDTH / 2;
    return (
      `<rect x="${x + 3}" y="${HEIGHT - height + 14}" width="${WIDTH - 6}" height="${height}" fill="#3b74b8"/>` +
      `<text x="${middle}" y="${HEIGHT - height + 11}" text-anchor="middle">${Math.round(share * 100)}</text>` +
      `<text x="${middle}" y="${HEIGHT + 26}" text-anchor="middle">${index + 1}</text>`
    );
  });
  const width = Math.max(1, acceptanceByPosition.length) * WIDTH;
  return (
    `<h3>${escaped(drafter)}</h3>\n<svg width="${width}" height="${HEIGHT + 30}" role="img" ` +
    `aria-label="acceptance by position, in percent">${shapes.join('')}</svg>`
  );
}

const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
