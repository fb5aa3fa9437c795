// The kernels of linear for cards, on the emulated device.
import { dtypes } from '../../lib/program/dtype.js';
import { filesIn, runChecks } from './checks.js';

test('linear for every type of weights gives what sums in 64 bits give, and the same row in every batch', () => {
  const folders = ['cuda/ops/linear', 'cuda/ops/linear/blocks', 'cuda/ops/linear/fragments'];
  const lines = runChecks({
    programs: ['linear.cu'],
    kernels: [...folders.flatMap((folder) => filesIn(folder, '_linear.cu')), ...filesIn('cuda/quant', '.cu')],
    host: filesIn('cpp/quant', '.cpp'),
  });
  if (lines === undefined) return;
  const weightTypes = Object.values(dtypes).filter(({ weight }) => weight);
  expect(lines.sort()).toEqual(weightTypes.map(({ name }) => `ok ${name}`).sort());
}, 300_000);
