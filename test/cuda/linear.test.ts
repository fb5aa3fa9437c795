// The kernels of linear for cards, on the emulated device.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { embeddedModelPath, quantizeModel } from '../../lib/index.js';
import { dtypes } from '../../lib/program/dtype.js';
import { cardName, emulatedDevice } from '../ops/executors.js';
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

// Which kernels were launched only emulation tells; cards have other reasons to be asked for.
const whenEmulated = cardName === 'cuda-emulated' && emulatedDevice() !== undefined ? test : test.skip;

whenEmulated('a whole model whose weights are decoded once says what it says without, to the last bit', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'vivace-unpacked-'));
  try {
    const file = join(folder, 'model.gguf');
    await quantizeModel(embeddedModelPath(), file, { type: 'Q8_0' });
    const index = JSON.stringify(join(__dirname, '..', '..', 'dist', 'index.js'));
    const story = `(async () => {
      const model = await require(${index}).loadModel(${JSON.stringify(file)}, { device: 'cuda-emulated', threads: 1 });
      const told = [];
      const options = { maxTokens: 3, temperature: 0, logprobs: 4 };
      const session = model.createSession();
      for await (const { text, logprobs } of session.generate('Once upon a time, there', options)) told.push([text, logprobs]);
      model.dispose();
      console.log(JSON.stringify(told));
    })();`;
    const tell = (env: NodeJS.ProcessEnv): { said: string; kernels: string[] } => {
      const names = mkdtempSync(join(folder, 'kernels-'));
      const settings = { ...process.env, VIVACE_EMULATED_KERNELS: names, ...env };
      const told = spawnSync(process.execPath, ['-e', story], { encoding: 'utf8', env: settings });
      if (told.status !== 0) throw new Error(`the process ended with ${told.status}: ${told.stderr}`);
      return { said: told.stdout, kernels: readdirSync(names).filter((name) => name.includes('unpacked')) };
    };
    const [plain, decoded] = [tell({}), tell({ VIVACE_CUDA_UNPACK_ROWS: '1' })];
    expect(JSON.parse(plain.said)).toHaveLength(3);
    expect(decoded.said).toBe(plain.said);
    expect([plain.kernels, decoded.kernels]).toEqual([[], ['multiply_unpacked']]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
