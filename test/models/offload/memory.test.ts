// What a process takes, as the system counts it: never more than the budget beside what everything but experts takes.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeGguf } from '../../../lib/formats/gguf-writer.js';
import { openModelFile, planExperts } from '../../../lib/index.js';
import { rowBytes } from '../../../lib/program/dtype.js';
import { ggufMetadata } from '../../fixtures/random/gguf.js';
import { randomMatrix } from '../../fixtures/random/blocks.js';
import { Generator } from '../../fixtures/random/generator.js';
import { randomTensors, tensorShapes } from '../../fixtures/random/tensors.js';
import { randomVocabulary } from '../../fixtures/random/vocabulary.js';
import { mixture } from './mixture.js';

const root = join(__dirname, '..', '..', '..');
const folder = mkdtempSync(join(tmpdir(), 'vivace-'));
const file = join(folder, 'large.gguf');
afterAll(() => rmSync(folder, { recursive: true }));

const MiB = 2 ** 20;
/** What garbage collectors and allocators may differ by from one process to the next. */
const NOISE = 12 * MiB;

/** Experts of 0.9 MB, 24 in each of four layers: the same rows again and again, for random ones take long to make. */
function write(): void {
  const own = { ...mixture, config: { ...mixture.config, experts: { ...mixture.config.experts!, count: 24, hidden: 2048 } } };
  const isExpert = (name: string): boolean => name.endsWith('_exps.weight');
  const experts = tensorShapes(own).filter(([name]) => isExpert(name));
  const small = { ...own, config: { ...own.config, experts: { ...own.config.experts, hidden: 32 } } };
  const repeated = experts.map(([name, ...shape]) => {
    const columns = shape[shape.length - 1];
    const rows = shape.slice(0, -1).reduce((product, size) => product * size, 1);
    const piece = randomMatrix(new Generator(1, name), 'Q4_0', 64, columns, 0.02);
    const pieces = (rows * rowBytes('Q4_0', columns)) / piece.length;
    return { name, dtype: 'Q4_0' as const, shape, data: () => Array.from({ length: pieces }, () => piece) };
  });
  writeGguf(file, {
    metadata: { ...ggufMetadata(own, 'Q4_0'), ...randomVocabulary(own.vocabulary).gguf },
    tensors: [...randomTensors(small, 'Q4_0').filter(({ name }) => !isExpert(name)), ...repeated],
  });
}

interface Told {
  readonly tokens: number[];
  readonly peak: number; // bytes of resident memory
  readonly touched: number; // experts that were used
}

/** A prompt and some tokens in a process of its own. */
function tell(memory?: number): Told {
  const code = `
    const { loadModel } = require(${JSON.stringify(root)});
    void (async () => {
      const experts = ${memory === undefined ? '{ trace: true }' : `{ memory: ${memory} }`};
      const model = await loadModel(${JSON.stringify(file)}, {
        device: 'cpu', threads: 2, contextLength: 256, repack: 'never', prefixCache: false, experts });
      const session = model.createSession();
      const prompt = Int32Array.from({ length: 150 }, (_, i) => 5 + (i * 37) % 300);
      const tokens = [];
      for await (const { logprobs } of session.generate(prompt, { maxTokens: 24, temperature: 0, logprobs: true }))
        for (const { token } of logprobs) tokens.push(token);
      const runs = experts.trace ? model.experts.routing().runs : [];
      const touched = new Set(runs.flatMap(({ layers }) => layers.flatMap(({ chosen }, layer) => [...chosen].map((id) => 1000 * layer + id))));
      const status = require('node:fs').readFileSync('/proc/self/status', 'latin1');
      const peak = 1024 * Number(/VmHWM:\\s*(\\d+)/.exec(status)[1]);
      process.stdout.write(JSON.stringify({ tokens, peak, touched: touched.size }));
      model.dispose();
    })();`;
  return JSON.parse(execFileSync(process.execPath, ['-e', code], { encoding: 'utf8' })) as Told;
}

const where = existsSync('/proc/self/status') ? test : test.skip; // no other system says what a process took at most
where('a process takes no more than its budget of experts beside the rest', () => {
  write();
  const least = planExperts(openModelFile(file), { memory: 4 * 2 ** 20 })!;
  const oneExpert = least.expertBytes / 24 / 4;
  const whole = tell();
  const rest = whole.peak - whole.touched * oneExpert;
  expect(whole.touched * oneExpert).toBeGreaterThan(50 * MiB); // else there would be little to see
  for (const memory of [least.memory, Math.floor(least.expertBytes / 3)]) {
    const { tokens, peak } = tell(memory);
    expect(tokens).toEqual(whole.tokens);
    expect(peak).toBeLessThanOrEqual(rest + memory + NOISE);
  }
});
