// The README and the pages are true: examples run, links and commands exist, tables are those of the registries.
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { spawnSync } from 'node:child_process';

const root = resolve(__dirname, '..', '..');
const readme = readFileSync(join(root, 'README.md'), 'utf8');
const pages = ['README.md', ...readdirSync(join(root, 'docs')).map((name) => `docs/${name}`)].filter((name) =>
  name.endsWith('.md'),
);

test('the examples run, one after the other, with the embedded model', () => {
  const examples = [...readme.matchAll(/```js\n([^]*?)```/g)].map(([, code]) => code);
  expect(examples.length).toBeGreaterThan(1);
  const folder = mkdtempSync(join(tmpdir(), 'vivace-readme-'));
  try {
    mkdirSync(join(folder, 'node_modules'));
    symlinkSync(root, join(folder, 'node_modules', 'vivace'), 'junction');
    const code = examples
      .join('\n')
      .replace("loadModel('model.gguf')", 'loadModel()')
      .replaceAll('maxTokens: 200', 'maxTokens: 20')
      .replace(/model\.dispose\(\);/, '');
    const [first, ...rest] = code.split('\n');
    writeFileSync(
      join(folder, 'example.cjs'),
      `${first}\n(async () => {\n${rest.join('\n')}\nmodel.dispose();\n})();\n`,
    );
    const { status, stdout, stderr } = spawnSync(process.execPath, ['example.cjs'], { cwd: folder, encoding: 'utf8' });
    expect(stderr).toBe('');
    expect(status).toBe(0);
    expect(stdout).toMatch(/\w+ \w+/);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('tables are those of the registries', () => {
  const { stderr } = spawnSync(process.execPath, [join(root, 'scripts', 'docs.mjs'), '--check'], {
    cwd: root,
    encoding: 'utf8',
  });
  expect(stderr).toBe('');
});

test.each(pages)('links and named files of %s exist', (page) => {
  const text = readFileSync(join(root, page), 'utf8');
  const links = [...text.matchAll(/\]\((?!https?:|#)([^)#]+)/g)].map(([, target]) => join(dirname(page), target));
  const named = [...text.matchAll(/`((?:lib|cpp|test|scripts|docs|bin|bench)\/[\w./-]+)`/g)].map(([, path]) => path);
  // The example of a model is a file that the reader would write.
  const missing = [...links, ...named].filter((path) => !existsSync(join(root, path)) && !path.endsWith('/olmo2.ts'));
  expect(missing).toEqual([]);
});

test('scripts that the README names exist', () => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>;
  };
  const named = [...readme.matchAll(/`npm (?:run )?([a-z:]+)`/g)]
    .map(([, name]) => name)
    .filter((name) => name !== 'ci');
  expect(named.filter((name) => scripts[name] === undefined)).toEqual([]);
});
