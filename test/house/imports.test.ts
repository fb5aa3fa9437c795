// Arrows run one way: a layer imports only from those beneath it.
import { dirname, join, normalize } from 'node:path';
import { files, read } from './project.js';

// From top to bottom, as in docs/architecture.md. A layer may import from its own rank and from lower ones.
const typescript: Record<string, { rank: number; also?: string[] }> = {
  cli: { rank: 0 },
  server: { rank: 0 },
  index: { rank: 1 },
  model: { rank: 2 },
  quantize: { rank: 2 },
  engine: { rank: 2 },
  session: { rank: 3 },
  decode: { rank: 4 },
  experts: { rank: 4 },
  caches: { rank: 4 },
  models: { rank: 5 },
  formats: { rank: 5 },
  program: { rank: 6 },
  native: { rank: 7 },
  errors: { rank: 9 },
};
const native: Record<string, number> = {
  addon: 0,
  device: 1,
  program: 1,
  ops: 2,
  quant: 2,
  caches: 2,
  experts: 2,
  offload: 2,
  decode: 2,
  entropy: 2,
  formats: 2,
  text: 2,
  core: 3,
};
// The contract that the ops are written against; it includes nothing of the planner.
const contracts = ['program/op.h', 'program/batch.h', 'program/batch_rows.h'];

/** lib/decode/loop.ts → decode, lib/session.ts → session */
const layerOf = (path: string): string =>
  path
    .replace(/^lib\//, '')
    .split('/')[0]
    .replace(/\.ts$/, '');

test('TypeScript imports point downwards', () => {
  const wrong: string[] = [];
  for (const file of files.filter((name) => /^lib\/.*\.ts$/.test(name))) {
    const own = typescript[layerOf(file)];
    if (!own) wrong.push(`${file}: its layer has no rank in this test`);
    for (const [, target] of read(file).matchAll(/(?:from|import\(|require\()\s*'(\.[^']+)'/g)) {
      const path = normalize(join(dirname(file), target)).replace(/\.js$/, '.ts');
      if (path === 'package.json') continue; // for the version
      const other = typescript[layerOf(path)];
      if (own && (!other || other.rank < own.rank)) wrong.push(`${file} imports ${path}`);
    }
  }
  expect(wrong).toEqual([]);
});

test('native includes point downwards, and ops see only the contract of programs', () => {
  const wrong: string[] = [];
  for (const file of files.filter((name) => /^cpp\/[^/]+\/.*\.(cpp|h)$/.test(name))) {
    const layer = file.split('/')[1];
    if (native[layer] === undefined) wrong.push(`${file}: its layer has no rank in this test`);
    for (const [, target] of read(file).matchAll(/^#include "([^"]+)"/gm)) {
      const other = target.split('/')[0];
      if (native[other] === undefined) wrong.push(`${file} includes ${target}, which is no path from cpp/`);
      else if (native[other] < native[layer] && !contracts.includes(target)) wrong.push(`${file} includes ${target}`);
    }
  }
  expect(wrong).toEqual([]);
});

test('only the addon speaks Node-API, and only lib/native.ts loads it', () => {
  const speaks = files.filter(
    (file) => /^cpp\//.test(file) && /#include <(napi|node_api|js_native_api)/.test(read(file)),
  );
  expect(speaks.filter((file) => !file.startsWith('cpp/addon/'))).toEqual([]);
  const loads = files.filter(
    (file) => /^(lib|test|bench)\/.*\.ts$/.test(file) && /from '.*load-addon\.js'/.test(read(file)),
  );
  expect(loads.filter((file) => file !== 'lib/native.ts' && !file.startsWith('test/packaging/'))).toEqual([]);
});
