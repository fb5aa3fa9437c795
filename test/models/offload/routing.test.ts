// What is recorded of experts is what the routers chose and what the layer before said of them, and recording changes nothing.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decodeRouting, readRouting, writeRouting, type RoutingRecord } from '../../../lib/experts/trace.js';
import { loadModel, type LoadOptions } from '../../../lib/index.js';
import { routeRows, expertFeedForward } from '../../../lib/models/experts.js';
import { ProgramBuilder } from '../../../lib/program/builder.js';
import { NativeProgram } from '../../../lib/program/native-program.js';
import { writeRandomGguf } from '../../fixtures/random-model.js';
import { random } from '../../ops/op-case.js';
import { mixture } from './mixture.js';

const folder = mkdtempSync(join(tmpdir(), 'vivace-'));
const file = join(folder, 'mixture.gguf');
beforeAll(() => writeRandomGguf(file, mixture, 'Q4_0'));
afterAll(() => rmSync(folder, { recursive: true }));

test('chosen and predicted are the best of what the routers say', () => {
  const [count, used, width, hidden, rows] = [6, 2, 32, 32, 5];
  const config = { ...mixture.config.experts!, count, used, hidden };
  const weights: Record<string, Float32Array> = {};
  const builder = new ProgramBuilder('routers', (name) => {
    const shape = /inp/.test(name) ? [count, width] : [count, width, hidden]; // width equals hidden
    weights[name] ??= random(name, shape.reduce((a, b) => a * b), 1);
    return /bias/.test(name) ? undefined : { dtype: 'F32', shape };
  });
  const x = builder.input('x', 'F32', 'rows', width);
  const first = routeRows(builder, config, x, 0, { layer: 1, more: 1 });
  const y = expertFeedForward(builder, config, x, first, 0);
  const second = routeRows(builder, config, y, 1);
  const program = builder.finish({ y: expertFeedForward(builder, config, y, second, 1), first: y });
  const compiled = new NativeProgram(program, (name) => weights[name], { threads: 2 });
  const values = random('x', rows * width);
  compiled.executable.routing(true);
  const results = compiled.runSync({ x: values });
  const [run, ...others] = decodeRouting(compiled.executable.routing(false), 2);
  compiled.dispose();
  expect(others).toEqual([]);

  const best = (input: Float32Array, layer: number, most: number): number[] =>
    Array.from({ length: rows }, (_, row) => {
      const logits = Array.from({ length: count }, (_, e) => {
        let sum = 0;
        for (let i = 0; i < width; i++) sum += input[row * width + i] * weights[`blk.${layer}.ffn_gate_inp.weight`][e * width + i];
        return sum;
      });
      return [...logits.keys()].sort((a, b) => logits[b] - logits[a]).slice(0, most);
    }).flat();
  expect(run.rows).toBe(rows);
  expect([...run.layers[0].chosen]).toEqual(best(values, 0, used));
  expect(run.layers[0].predicted).toBeUndefined();
  expect([...run.layers[1].predicted!]).toEqual(best(values, 1, used + 1));
  expect([...run.layers[1].chosen]).toEqual(best(results['first'], 1, used));
});

async function tell(options: LoadOptions): Promise<{ said: number[]; routing?: RoutingRecord }> {
  const model = await loadModel(file, { device: 'cpu', threads: 2, contextLength: 64, ...options });
  try {
    using session = model.createSession();
    const said: number[] = [];
    const generate = { maxTokens: 9, temperature: 0, logprobs: true };
    for await (const { logprobs = [] } of session.generate(Int32Array.of(3, 17, 5, 200), generate))
      for (const { token, logprob } of logprobs) said.push(token, logprob);
    return options.experts?.trace ? { said, routing: model.experts.routing() } : { said };
  } finally {
    model.dispose();
  }
}

test('a recorded text is the same text, and files keep what was recorded', async () => {
  const plain = await tell({});
  const { said, routing } = await tell({ experts: { trace: true, overfetch: 2 } });
  expect(said).toEqual(plain.said);
  const { count, used } = mixture.config.experts!;
  expect(routing).toMatchObject({ experts: count, used, predicted: used + 2 });
  const { runs } = routing!;
  expect(runs.reduce((sum, { rows }) => sum + rows, 0)).toBeGreaterThanOrEqual(4 + 8);
  expect(runs.map(({ begins }) => begins)).toEqual(runs.map((_, index) => index === 0));
  for (const { rows, layers } of runs) {
    expect(layers).toHaveLength(mixture.config.layers);
    for (const { chosen, predicted } of layers.slice(1, -1)) {
      expect(chosen).toHaveLength(rows * used);
      expect(predicted).toHaveLength(rows * (used + 2));
    }
    for (const id of layers.flatMap(({ chosen }) => [...chosen])) expect(id >= 0 && id < count).toBe(true);
  }
  const written = join(folder, 'routing.jsonl');
  writeRouting(written, routing!);
  expect(readRouting(written)).toEqual(routing);
  writeFileSync(written, '{"experts":4,"used":2,"predicted":3}\n{"rows":1,"chosen":[[9]],"predicted":[null]}\n');
  expect(() => readRouting(written)).toThrow(expect.objectContaining({ code: 'FORMAT_INVALID' }));
});

test('nothing is recorded where nobody asked, and options are checked', async () => {
  using model = await loadModel(file, { device: 'cpu', contextLength: 16 });
  expect(() => model.experts.routing()).toThrow(expect.objectContaining({ code: 'UNSUPPORTED_FEATURE' }));
  await expect(loadModel(file, { experts: { trace: 1 as never } })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  await expect(loadModel(file, { experts: { overfetch: -1 } })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
});
