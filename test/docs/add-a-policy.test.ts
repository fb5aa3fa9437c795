// The drafter in docs/add-a-policy.md is what the page says: it type-checks, and drafts without changing the text.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { transformSync } from '@swc/core';
import { embeddedModelPath, loadModel } from '../../lib/index.js';
import type { Drafter, GenerateResult, Tokenizer } from '../../lib/index.js';

const root = resolve(__dirname, '..', '..');
const page = readFileSync(join(root, 'docs', 'add-a-policy.md'), 'utf8');
const [, code] = /```ts example\n([^]*?)```/.exec(page) ?? [];

test('the page holds one example, and it type-checks', () => {
  expect(code).toBeDefined();
  const folder = mkdtempSync(join(root, 'build-docs-'));
  try {
    writeFileSync(join(folder, 'phrases.ts'), code);
    const project = {
      extends: join(root, 'tsconfig.json'),
      compilerOptions: { noEmit: true, rootDir: root, types: ['node'], paths: { vivace: ['../lib/index.ts'] } },
      files: ['phrases.ts'],
      include: [],
    };
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(project));
    const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
    const { stdout, status } = spawnSync(process.execPath, [tsc, '-p', folder, '--pretty', 'false'], {
      cwd: root,
      encoding: 'utf8',
    });
    expect({ stdout, status }).toEqual({ stdout: '', status: 0 });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('what it names is there', () => {
  const paths = [...page.matchAll(/`((?:lib|cpp|cuda|test)\/[^`\s]+)`/g)].map(([, path]) => path);
  expect(paths.length).toBeGreaterThan(15);
  expect(paths.filter((path) => !existsSync(join(root, path)))).toEqual([]);
});

test('its drafts are kept where it knows the text, and the text stays as it is', async () => {
  const { code: script } = transformSync(code, {
    jsc: { parser: { syntax: 'typescript' }, target: 'es2022' },
    module: { type: 'commonjs' },
  });
  const exports: { phrases?: (tokenizer: Tokenizer, texts: readonly string[]) => Drafter } = {};
  new Function('exports', script)(exports);
  const model = await loadModel(embeddedModelPath(), { threads: 2 });
  const generate = async (drafter?: Drafter): Promise<GenerateResult> => {
    using session = model.createSession();
    const speculation = drafter === undefined ? {} : { speculation: { drafter } };
    const pieces = session.generate('Once upon a time', { temperature: 0, maxTokens: 40, ...speculation });
    for (let next = await pieces.next(); ; next = await pieces.next()) if (next.done) return next.value;
  };
  try {
    const plain = await generate();
    const phrase = model.tokenizer.decode(Int32Array.from(plain.tokens.slice(4, 12)));
    const drafted = await generate(exports.phrases!(model.tokenizer, [phrase]));
    expect(drafted.tokens).toEqual(plain.tokens);
    expect(drafted.speculation).toMatchObject({ drafter: 'phrases', rounds: expect.any(Number) });
    expect(drafted.speculation!.accepted).toBeGreaterThan(0);
    expect(drafted.speculation!.rounds).toBe(40 - drafted.speculation!.accepted);
  } finally {
    model.dispose();
  }
});
