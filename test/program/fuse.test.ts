// Fusion rules change what is done, not what comes out: fused and unfused programs give the same bits.
import { openModelFile } from '../../lib/formats/open.js';
import { WeightStore } from '../../lib/formats/weight-store.js';
import { buildProgram } from '../../lib/models/registry.js';
import { ProgramBuilder } from '../../lib/program/builder.js';
import { NativeExecutor } from '../../lib/program/native-executor.js';
import { NativeProgram } from '../../lib/program/native-program.js';
import { randomModel, writeRandomGguf } from '../fixtures/random-model.js';
import { scratch } from '../formats/scratch.js';
import { isaLevels } from '../ops/executors.js';

const values = (count: number, seed: number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => Math.fround(Math.sin(i * 0.7 + seed)));

describe('linear_add', () => {
  const width = 40;
  const rows = 7;
  const weight = values(width * width, 1);
  const info = { dtype: 'F32' as const, shape: [width, width] };
  const builder = (): ProgramBuilder => new ProgramBuilder('residual', () => info);
  const run = (program: ReturnType<ProgramBuilder['finish']>, isa: string, fuse: boolean, threads: number) => {
    const compiled = new NativeProgram(program, () => weight, { isa, fuse, threads });
    const result = compiled.runSync({ x: values(rows * width, 2), r: values(rows * width, 3) });
    const { calls } = compiled.executable.sizes();
    compiled.dispose();
    return { result, calls };
  };

  const cases = {
    'residual on the left': (b: ProgramBuilder) => {
      const [x, r] = [b.input('x', 'F32', 'rows', width), b.input('r', 'F32', 'rows', width)];
      return b.finish({ y: b.add(r, b.linear(x, b.weight('w', [width, width]))) });
    },
    'residual on the right': (b: ProgramBuilder) => {
      const [x, r] = [b.input('x', 'F32', 'rows', width), b.input('r', 'F32', 'rows', width)];
      return b.finish({ y: b.add(b.linear(x, b.weight('w', [width, width])), r) });
    },
    'two linears, one taken': (b: ProgramBuilder) => {
      const [x, r] = [b.input('x', 'F32', 'rows', width), b.input('r', 'F32', 'rows', width)];
      const w = b.weight('w', [width, width]);
      return b.finish({ y: b.add(b.linear(x, w), b.linear(r, w)) });
    },
  };
  test.each(Object.entries(cases))('%s: one call fewer, the same bits', (_, shape) => {
    for (const isa of isaLevels()) {
      for (const threads of [1, 2]) {
        const program = shape(builder());
        const fused = run(program, isa, true, threads);
        const plain = run(program, isa, false, threads);
        expect(fused.result).toEqual(plain.result);
        expect(fused.calls).toBe(plain.calls - 1);
      }
    }
  });

  const kept = {
    'the linear is read elsewhere': (b: ProgramBuilder) => {
      const [x, r] = [b.input('x', 'F32', 'rows', width), b.input('r', 'F32', 'rows', width)];
      const product = b.linear(x, b.weight('w', [width, width]));
      return b.finish({ y: b.add(r, product), z: b.scale(product, 2) });
    },
    'the linear is an output': (b: ProgramBuilder) => {
      const [x, r] = [b.input('x', 'F32', 'rows', width), b.input('r', 'F32', 'rows', width)];
      const product = b.linear(x, b.weight('w', [width, width]));
      return b.finish({ y: b.add(r, product), product });
    },
    'it is added to itself': (b: ProgramBuilder) => {
      const product = b.linear(b.input('x', 'F32', 'rows', width), b.weight('w', [width, width]));
      return b.finish({ y: b.add(product, product) });
    },
    'the other side comes later': (b: ProgramBuilder) => {
      const [x, r] = [b.input('x', 'F32', 'rows', width), b.input('r', 'F32', 'rows', width)];
      const product = b.linear(x, b.weight('w', [width, width]));
      return b.finish({ y: b.add(b.scale(r, 3), product) });
    },
    'the other side is one row for all': (b: ProgramBuilder) => {
      const product = b.linear(b.input('x', 'F32', 'rows', width), b.weight('w', [width, width]));
      return b.finish({ y: b.add(product, b.constant('c', 1, width, values(width, 5))) });
    },
  };
  test.each(Object.entries(kept))('%s: nothing is fused', (_, shape) => {
    const program = shape(builder());
    const fused = run(program, isaLevels()[0], true, 1);
    const plain = run(program, isaLevels()[0], false, 1);
    expect(fused.result).toEqual(plain.result);
    expect(fused.calls).toBe(plain.calls);
  });
});

describe('whole models', () => {
  const { at } = scratch();
  test.each([
    ['llama', 'F32'],
    ['llama', 'Q4_K'],
    ['gemma2', 'F16'],
    ['qwen3', 'Q8_0'],
  ] as const)('%s in %s: fused and unfused logits are equal to the bit', async (name, dtype) => {
    writeRandomGguf(at(`${name}.gguf`), randomModel(name), dtype);
    const source = openModelFile(at(`${name}.gguf`));
    const store = new WeightStore(source);
    const { config } = source;
    const program = buildProgram(config, (tensor) => store.info(tensor), {
      contextLength: 128,
      readVector: (tensor) => store.vector(tensor),
    });
    const logits: Float32Array[] = [];
    for (const fuse of [true, false]) {
      const executor = new NativeExecutor(program, (tensor) => store.bind(tensor), { threads: 2, fuse });
      const kv = executor.createKvCache({ maxPages: 16 });
      const sequence = kv.create();
      const tokens = Int32Array.from({ length: 20 }, (_, i) => 270 + i * 3);
      const out = new Float32Array(2 * config.vocab);
      await executor.run(kv, {
        tokens,
        positions: tokens.map((_, i) => i),
        sequences: tokens.map(() => sequence),
        outputs: Int32Array.of(7, 19),
        logits: out,
      });
      logits.push(out);
      kv.dispose();
      executor.dispose();
    }
    store.close();
    expect(logits[0]).toEqual(logits[1]);
  });
});
