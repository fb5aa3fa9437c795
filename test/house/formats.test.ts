// Number formats and model families: the same rows on both sides of the border, and every row in all its places.
import { dtypes } from '../../lib/program/dtype.js';
import type { DTypeInfo } from '../../lib/program/dtype.js';
import { architectures } from '../../lib/formats/model-config.js';
import { families } from '../../lib/models/registry.js';
import { files, read } from './project.js';

const all: readonly DTypeInfo[] = Object.values(dtypes);

interface NativeRow {
  readonly name: string;
  readonly block: number;
  readonly bytes: number;
  readonly quantized: boolean;
  readonly header: number;
}

function nativeRows(): Map<number, NativeRow> {
  const source = read('cpp/core/dtype.h');
  const ids = new Map([...source.matchAll(/^\s*(\w+) = (\d+),/gm)].map(([, name, id]) => [name, Number(id)]));
  const rows = source.matchAll(
    /\{DType::(\w+),\s*"(\w+)",\s*(\d+),\s*(\d+),\s*(true|false)(?:,\s*(\d+))?(?:,\s*true)?\}/g,
  );
  return new Map(
    [...rows].map(([, key, name, block, bytes, quantized, header]) => [
      ids.get(key) ?? NaN,
      {
        name,
        block: Number(block),
        bytes: Number(bytes),
        quantized: quantized === 'true',
        header: Number(header ?? 0),
      },
    ]),
  );
}

test('the tables of number formats are equal', () => {
  // Ids from 2000 on are made by the planner and never cross the border.
  const shared = [...nativeRows()].filter(([id]) => id < 2000);
  expect(shared.map(([id, { name, block, bytes, header }]) => ({ id, name, block, bytes, header }))).toEqual(
    all.map(({ id, name, block, bytes, header }) => ({ id, name, block, bytes, header })),
  );
});

const sources = files.filter((file) => /^cpp\/.*\.(cpp|h)$/.test(file));

test.each(all.filter(({ weight }) => weight).map(({ name }) => name))('%s has its places', (name) => {
  const row = `${name.toLowerCase()}_type`;
  expect(read('cpp/quant/registry.cpp')).toContain(`&${row},`);
  expect(sources.filter((file) => read(file).includes(`const QuantType ${row} =`))).toHaveLength(1);
  expect(read('lib/program/reference/dequantise.ts')).toMatch(new RegExp(`^ {2}${name}: `, 'm'));
  // The kernel of `linear` for rows of this type.
  expect(
    sources.filter((file) => file.startsWith('cpp/ops/linear/') && read(file).includes(`DType::${name}`)),
  ).not.toEqual([]);
});

test('every architecture that files may name has a family', () => {
  expect(families.map(({ architecture }) => architecture).sort()).toEqual([...architectures].sort());
});

test.each(families.map(({ architecture }) => architecture))('%s has a test', (architecture) => {
  const tests = files.filter(
    (file) => /^test\/models\/.*\.test\.ts$/.test(file) && read(file).includes(`'${architecture}'`),
  );
  const all = files.filter(
    (file) => /^test\/models\/.*\.test\.ts$/.test(file) && /families\.map|of families|each\(families/.test(read(file)),
  );
  expect([...tests, ...all]).not.toEqual([]);
});
