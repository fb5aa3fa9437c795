// The model in docs/add-a-model.md is what the page says: it type-checks, builds its program and runs natively.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { transformSync } from '@swc/core';
import type { ModelConfig } from '../../lib/formats/model-config.js';
import type { BuildProgram } from '../../lib/models/decoder.js';
import { NativeExecutor } from '../../lib/program/native-executor.js';

const root = resolve(__dirname, '..', '..');
const page = readFileSync(join(root, 'docs', 'add-a-model.md'), 'utf8');
const [, code] = /```ts example\n([^]*?)```/.exec(page) ?? [];

const config: ModelConfig = {
  architecture: 'llama',
  contextLength: 64,
  width: 64,
  layers: 2,
  hidden: 96,
  heads: 4,
  kvHeads: 2,
  headDim: 16,
  valueDim: 16,
  vocab: 40,
  normEpsilon: 1e-6,
  rope: { base: 500000, dimensions: 16, scaling: { type: 'none' }, layout: 'halves' },
  tiedEmbedding: false,
};

const shapes = new Map<string, number[]>([
  ['token_embd.weight', [40, 64]],
  ['output_norm.weight', [64]],
  ['output.weight', [40, 64]],
  ...[0, 1].flatMap((layer) =>
    Object.entries({
      attn_q: [64, 64],
      attn_k: [32, 64],
      attn_v: [32, 64],
      attn_q_norm: [64],
      attn_k_norm: [32],
      attn_output: [64, 64],
      post_attention_norm: [64],
      ffn_gate: [96, 64],
      ffn_up: [96, 64],
      ffn_down: [64, 96],
      post_ffw_norm: [64],
    }).map(([name, shape]): [string, number[]] => [`blk.${layer}.${name}.weight`, shape]),
  ),
]);

/** The function that the page defines, its imports taken from lib/. */
function example(): BuildProgram {
  const { code: script } = transformSync(code, {
    jsc: { parser: { syntax: 'typescript' }, target: 'es2022' },
    module: { type: 'commonjs' },
  });
  const exports: { buildOlmo2?: BuildProgram } = {};
  const load = (name: string): unknown => jest.requireActual(join(root, 'lib', 'models', name.replace(/\.js$/, '.ts')));
  new Function('require', 'exports', script)(load, exports);
  if (!exports.buildOlmo2) throw new Error('The example exports no buildOlmo2');
  return exports.buildOlmo2;
}

const lookup = (name: string): { dtype: 'F32'; shape: number[] } | undefined => {
  const shape = shapes.get(name);
  return shape && { dtype: 'F32', shape };
};

/** Reproducible weights, small enough that nothing overflows. */
function weights(name: string): Float32Array {
  const size = (shapes.get(name) ?? []).reduce((product, dimension) => product * dimension, 1);
  const norm = name.includes('norm');
  return Float32Array.from({ length: size }, (_, index) => Math.sin(index * 0.7 + name.length) * 0.2 + (norm ? 1 : 0));
}

test('the page holds one example, and it type-checks where it says it belongs', () => {
  expect(code).toBeDefined();
  const folder = mkdtempSync(join(root, 'build-docs-'));
  try {
    mkdirSync(join(folder, 'models'));
    writeFileSync(join(folder, 'models', 'olmo2.ts'), code);
    const options = { noEmit: true, rootDir: root, rootDirs: [join(root, 'lib'), folder], types: ['node'] };
    const project = {
      extends: join(root, 'tsconfig.json'),
      compilerOptions: options,
      files: ['models/olmo2.ts'],
      include: [],
    };
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(project));
    const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
    const { stdout } = spawnSync(process.execPath, [tsc, '-p', folder, '--pretty', 'false'], {
      cwd: root,
      encoding: 'utf8',
    });
    expect(stdout).toBe('');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('its program has the shape of a language model, and selects its outputs before the last feed-forward', () => {
  const program = example()(config, lookup, { contextLength: 64 });
  expect(program.outputs['logits']).toMatchObject({ rows: 'outputs', columns: 40 });
  expect(program.kv).toEqual({ layers: 2, kvHeads: 2, keyDim: 16, valueDim: 16 });
  const names = program.calls.map(({ op }) => op);
  expect(names.filter((op) => op === 'row_select')).toHaveLength(1);
  expect(names.lastIndexOf('attention')).toBeLessThan(names.indexOf('row_select'));
  expect(names.indexOf('row_select')).toBeLessThan(names.lastIndexOf('gated_activation'));
});

test('it runs: one prompt, all tokens at once or one by one, gives the same logits', async () => {
  const program = example()(config, lookup, { contextLength: 64 });
  const executor = new NativeExecutor(program, weights, {});
  try {
    const together = await logits(executor, [[1, 2, 3, 4, 5]]);
    const apart = await logits(executor, [[1], [2], [3], [4], [5]]);
    expect(together.every(Number.isFinite)).toBe(true);
    expect(new Set(together).size).toBeGreaterThan(30);
    together.forEach((value, index) => expect(value).toBeCloseTo(apart[index], 4));
  } finally {
    executor.dispose();
  }
});

/** Logits after the last token of the pieces, run one after the other. */
async function logits(executor: NativeExecutor, pieces: number[][]): Promise<Float32Array> {
  const kv = executor.createKvCache({ maxPages: 4, keyType: 'F32', valueType: 'F32' });
  const sequence = kv.create();
  const result = new Float32Array(config.vocab);
  let position = 0;
  for (const piece of pieces) {
    await executor.run(kv, {
      tokens: Int32Array.from(piece),
      positions: Int32Array.from(piece, (_, index) => position + index),
      sequences: new Int32Array(piece.length).fill(sequence),
      outputs: Int32Array.of(piece.length - 1),
      logits: result,
    });
    position += piece.length;
  }
  kv.release(sequence);
  return result;
}
