// The kernels of linear for cards, on the emulated device.
import { dtypes } from '../../lib/program/dtype.js';
import { filesIn, runChecks } from './checks.js';

const folders = ['cuda/ops/linear', 'cuda/ops/linear/blocks', 'cuda/ops/linear/fragments'];

test('linear for every type of weights gives what sums in 64 bits give, and the same row in every batch', () => {
  const lines = runChecks({
    programs: ['linear.cu', 'unpacked.cu'],
    kernels: [
      ...folders.flatMap((folder) => filesIn(folder, '_linear.cu')),
      ...filesIn('cuda/ops/linear/fragments/unpacked', '.cu'),
      ...filesIn('cuda/quant', '.cu'),
    ],
    host: filesIn('cpp/quant', '.cpp'),
  });
  if (lines === undefined) return;
  const types = Object.values(dtypes).flatMap(({ name, weight }) => (weight ? [name] : []));
  // GGUF's quantised types are decoded once for many rows of x, too.
  const unpacked = types.filter((name) => /^I?Q/.test(name)).map((name) => `unpacked ${name}`);
  expect(lines.sort()).toEqual([...types, ...unpacked, 'unpacked room'].map((name) => `ok ${name}`).sort());
}, 500_000);
