// Writes the tables of README.md and docs/ from the registries (as built in dist/), between `<!-- table: NAME -->` and
// `<!-- end -->`. With --check nothing is written and files that are out of date are named.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const registry = (path) => createRequire(import.meta.url)(join(root, 'dist', path));

const tables = {
  models: () =>
    markdown(
      ['architecture', 'models', 'what it is'],
      registry('models/registry.js').families.map((row) => [`\`${row.architecture}\``, row.models, row.description]),
    ),
  formats: () =>
    markdown(
      ['type', 'bits per weight', 'block'],
      Object.values(registry('program/dtype.js').dtypes)
        .filter((row) => row.weight && row.id < 1000)
        .map((row) => [row.name, Number(((row.bytes * 8) / row.block).toFixed(4)), row.block]),
    ),
  ops: () =>
    markdown(
      ['op', 'formula'],
      Object.keys(registry('program/ops.js').ops).map((name) => [
        `[\`${name}\`](../${contractOf(name)})`,
        formula(name),
      ]),
    ),
};

const check = process.argv.includes('--check');
const documents = ['README.md', ...readdirSync(join(root, 'docs')).map((name) => `docs/${name}`)].filter((name) =>
  name.endsWith('.md'),
);
let stale = 0;
for (const document of documents) {
  const path = join(root, document);
  const text = readFileSync(path, 'utf8');
  const fresh = text.replace(/(<!-- table: (\w+) -->\n)[^]*?(<!-- end -->)/g, (_, begin, name, end) => {
    if (!tables[name]) throw new Error(`${document}: there is no table called ${name}`);
    return `${begin}\n${tables[name]()}\n\n${end}`;
  });
  if (fresh === text) continue;
  if (check) console.error(`${document} is out of date: run \`node scripts/docs.mjs\``);
  else writeFileSync(path, fresh);
  ++stale;
}
if (check && stale > 0) process.exit(1);

/** A table as prettier would align it. */
function markdown(head, rows) {
  const cells = [head, ...rows].map((row) => row.map((cell) => String(cell).replaceAll('|', '\\|')));
  const widths = head.map((_, column) => Math.max(3, ...cells.map((row) => [...row[column]].length)));
  const line = (row) =>
    `| ${row.map((cell, column) => cell + ' '.repeat(widths[column] - [...cell].length)).join(' | ')} |`;
  return [
    line(cells[0]),
    `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`,
    ...cells.slice(1).map(line),
  ].join('\n');
}

/** Where an op's contract is: cpp/ops/<family>/<name>.h */
function contractOf(name) {
  for (const family of readdirSync(join(root, 'cpp', 'ops'), { withFileTypes: true })) {
    if (!family.isDirectory()) continue;
    const folder = join(root, 'cpp', 'ops', family.name);
    if (readdirSync(folder).includes(`${name}.h`))
      return relative(root, join(folder, `${name}.h`)).replaceAll('\\', '/');
  }
  throw new Error(`${name} has no contract below cpp/ops`);
}

/** The first sentence of a contract: `// add: y = a + b. …` */
function formula(name) {
  const [first] = readFileSync(join(root, contractOf(name)), 'utf8').split('\n');
  return first.replace(/^\/\/ \w+: /, '').replace(/(\.( .*)?|,)$/, '');
}
