// Every op is in all its places, under one name and with one signature.
import { native } from '../../lib/native.js';
import { ops } from '../../lib/program/ops.js';
import type { OpSignature } from '../../lib/program/ops.js';
import { referenceOps } from '../../lib/program/reference/ops/table.js';
import { files, nativeOps, read, stem } from './project.js';

const signatures = Object.entries(ops) as [string, OpSignature][];
const rows = nativeOps();
/** Ops that only the native planner makes; programs never name them, so they have no signature. */
const plannerOnly = rows
  .filter(({ place }) => /(made|inserted) by the planner/i.test(read(`${place}.h`)))
  .map(({ name }) => name);

test('both tables have the same ops', () => {
  const listed = rows.map(({ name }) => name).filter((name) => !plannerOnly.includes(name));
  expect(listed.sort()).toEqual(signatures.map(([name]) => name).sort());
});

test('the reference has a body for every op', () => {
  expect(Object.keys(referenceOps).sort()).toEqual(signatures.map(([name]) => name).sort());
});

test('the addon knows the ops of its source', () => {
  expect(
    native()
      .ops()
      .map(({ name }) => name),
  ).toEqual(rows.map(({ name }) => name));
});

test.each(signatures)('%s has the same signature in both tables', (name, { inputs, attributes }) => {
  const row = rows.find((other) => other.name === name);
  expect(
    native()
      .ops()
      .find((op) => op.name === name)?.attributes,
  ).toEqual(attributes.map((attribute) => attribute.name));
  expect(row?.attributes).toEqual(attributes.map((attribute) => attribute.name));
  expect(row?.inputs).toEqual({ least: inputs.filter((input) => !input.endsWith('?')).length, most: inputs.length });
});

test.each(rows.map(({ name, place }) => [name, place]))(
  '%s has its contract, source, kernel and tests',
  (name, place) => {
    const contract = read(`${place}.h`);
    expect(contract.split('\n')[0]).toMatch(new RegExp(`^// ${name}: `));
    // What it moves and computes: in words, or as functions where the planner and the bench need the numbers.
    expect(contract).toMatch(new RegExp(`^//\\s+bytes: |\\b${name}_bytes\\(`, 'm'));
    expect(contract).toContain(`extern const OpInfo ${name}_op;`);
    expect(read(`${place}.cpp`)).toContain(`VIVACE_KERNELS(${name})`);

    const { kernels } = JSON.parse(read('cpp/sources.json')) as { kernels: string[] };
    const bodies = kernels.filter((file) => new RegExp(`\\bvoid ${name}\\(const OpRun&`).test(read(file)));
    expect(bodies).toHaveLength(1);

    expect(
      files.filter((file) => file.startsWith('test/ops/') && /\.test\.ts$/.test(file) && stem(file) === name),
    ).toHaveLength(1);
  },
);
