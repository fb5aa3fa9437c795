// Every op at the sizes of a model of 7 billion parameters: width 4096, 32 heads of 128 values over 8 KV heads, hidden 11008,
// vocabulary 32000; a decoding row and a chunk of a prompt.
import { native } from '../lib/native.js';
import { ProgramBuilder } from '../lib/program/builder.js';
import { dtypes, rowBytes, takesA8, type DType } from '../lib/program/dtype.js';
import type { KvDType } from '../lib/program/executor.js';
import { NativeProgram } from '../lib/program/native-program.js';
import type { Program, Rows, Value } from '../lib/program/program.js';
import { quantise, weightTypes } from '../test/ops/linear/cases.js';
import { random } from '../test/ops/op-case.js';
import { callsOf, type Place, type Run } from './measure.js';

/** A program whose calls of the ops named are timed. */
export interface Spec {
  readonly ops: readonly string[];
  readonly type: string;
  readonly rows: number;
  readonly shape: string;
  /** Makes it and what it runs on; `dispose` gives the memory back. */
  open(place: Place): { program: NativeProgram; run: Run; dispose(): void };
}

const [width, hidden, heads, kvHeads, headDim, vocab] = [4096, 11008, 32, 8, 128, 32000];

type Input = (name: string, columns: number, dtype?: 'F32' | 'I32', rows?: Rows) => Value;

/** An op on values of rows, each call with inputs of its own. */
function simple(
  op: string,
  rows: number,
  shape: string,
  bytesPerRow: number,
  build: (builder: ProgramBuilder, input: Input) => Value,
  fill: (name: string, count: number) => Int32Array | Float32Array = (name, count) => numbers(name, count),
): Spec {
  return {
    ops: [op],
    type: 'F32',
    rows,
    shape,
    open({ threads, level }) {
      const builder = new ProgramBuilder(op, () => undefined);
      const inputs: Record<string, Int32Array | Float32Array> = {};
      const outputs: Record<string, Value> = {};
      for (let call = 0; call < callsOf(rows * bytesPerRow); ++call) {
        outputs[`y${call}`] = build(builder, (name, columns, dtype = 'F32', of = 'rows') => {
          inputs[`${name}${call}`] = fill(name, rows * columns);
          return builder.input(`${name}${call}`, dtype, of, columns);
        });
      }
      return opened(builder.finish(outputs), () => never(), inputs, { threads, level });
    },
  };
}

function opened(
  program: Program,
  bind: (tensor: string) => Uint8Array | Float32Array,
  inputs: Run['inputs'],
  { threads, level }: Pick<Place, 'threads' | 'level'>,
) {
  const compiled = new NativeProgram(program, bind, { threads, isa: level });
  return { program: compiled, run: { inputs }, dispose: () => compiled.dispose() };
}

const never = (): never => {
  throw new Error('there are no weights');
};

/** A million random numbers, over and over. */
function numbers(name: string, count: number): Float32Array {
  const few = random(name, Math.min(count, 1 << 20));
  const all = new Float32Array(count);
  for (let at = 0; at < count; at += few.length) all.set(few.subarray(0, count - at), at);
  return all;
}

const positions = (_: string, count: number): Int32Array => Int32Array.from({ length: count }, (__, i) => 1000 + i);
const ones = (columns: number): Float32Array => new Float32Array(columns).fill(1);

export function simpleSpecs(rows: number): Spec[] {
  const order = Int32Array.from({ length: width }, (_, i) => (i * 37) % width);
  const indices = (name: string, count: number): Int32Array | Float32Array =>
    name === 'indices' ? Int32Array.from({ length: count }, (_, i) => i) : numbers(name, count);
  const frequencies = Float32Array.from({ length: headDim / 2 }, (_, i) => 10000 ** ((-2 * i) / headDim));
  return [
    simple('rms_norm', rows, `${width}`, 8 * width, (b, input) =>
      b.rmsNorm(input('x', width), b.constant('w', 1, width, ones(width)), 1e-5),
    ),
    simple('layer_norm', rows, `${width}`, 8 * width, (b, input) =>
      b.layerNorm(
        input('x', width),
        b.constant('w', 1, width, ones(width)),
        b.constant('b', 1, width, ones(width)),
        1e-5,
      ),
    ),
    simple(
      'rope_table',
      rows,
      `${headDim / 2} frequencies`,
      4 * headDim,
      (b, input) => b.ropeTable(input('positions', 1, 'I32'), b.constant('f', 1, headDim / 2, frequencies)),
      positions,
    ),
    simple('rope', rows, `${heads} · ${headDim}`, 8 * width, (b, input) =>
      b.rope(input('x', width), input('table', headDim), heads, 'halves'),
    ),
    simple('gated_activation', rows, `${hidden}, silu`, 12 * hidden, (b, input) =>
      b.gatedActivation(input('gate', hidden), input('up', hidden), 'silu'),
    ),
    simple('add', rows, `${width}`, 12 * width, (b, input) => b.add(input('a', width), input('b', width))),
    simple('mul', rows, `${width}`, 12 * width, (b, input) => b.mul(input('a', width), input('b', width))),
    simple('scale', rows, `${width}`, 8 * width, (b, input) => b.scale(input('x', width), 0.5)),
    simple('soft_cap', rows, `${width}`, 8 * width, (b, input) => b.softCap(input('x', width), 30)),
    simple(
      'row_select',
      rows,
      `${width}`,
      8 * width,
      (b, input) => b.rowSelect(input('x', width), input('indices', 1, 'I32', 'outputs')),
      indices,
    ),
    simple('column_select', rows, `${width}`, 8 * width, (b, input) =>
      b.columnSelect(input('x', width), b.constant('order', 1, width, order)),
    ),
    simple('concat', rows, `2 · ${width}`, 16 * width, (b, input) => b.concat(input('a', width), input('b', width))),
    ...(rows <= 32
      ? [
          simple('softmax', rows, `${vocab}`, 8 * vocab, (b, input) => b.softmax(input('x', vocab))),
          simple('log_softmax', rows, `${vocab}`, 8 * vocab, (b, input) => b.logSoftmax(input('x', vocab))),
        ]
      : []),
  ];
}

/** Rows of a table of all tokens. */
export const embeddingSpecs = (rows: number, types: readonly DType[] = weightTypes): Spec[] =>
  types.map((type) => ({
    ops: ['embedding'],
    type,
    rows,
    shape: `${vocab} x ${width}`,
    open(place) {
      const builder = new ProgramBuilder('embedding', () => ({ dtype: type, shape: [vocab, width] }));
      const weight = builder.weight('weight', [vocab, width]);
      const inputs: Record<string, Int32Array> = {};
      const outputs: Record<string, Value> = {};
      const calls = callsOf(rows * (rowBytes(type, width) + 4 * width));
      for (let call = 0; call < calls; ++call) {
        inputs[`tokens${call}`] = Int32Array.from({ length: rows }, (_, i) => ((call * rows + i) * 7919) % vocab);
        outputs[`y${call}`] = builder.embedding(weight, builder.input(`tokens${call}`, 'I32', 'rows'));
      }
      return opened(builder.finish(outputs), () => repeated(type, vocab, width), inputs, place);
    },
  }));

/** Each call with a weight of its own, all on the same rows. */
export function linearSpec(type: DType, rows: number, out: number, columns: number): Spec {
  const ops = takesA8(type) ? ['linear', 'quantize_rows', 'quantize_tokens'] : ['linear'];
  return {
    ops,
    type,
    rows,
    shape: `${out} x ${columns}`,
    open(place) {
      const builder = new ProgramBuilder('linear', () => ({ dtype: type, shape: [out, columns] }));
      const x = builder.input('x', 'F32', 'rows', columns);
      let y: Value | undefined;
      for (let call = 0; call < callsOf(out * rowBytes(type, columns)); ++call) {
        y = builder.call('linear', [x, builder.weight(`weight${call}`, [out, columns])], {})[0];
      }
      const bytes = repeated(type, out, columns);
      return opened(builder.finish({ y: y as Value }), () => bytes, { x: numbers('x', rows * columns) }, place);
    },
  };
}

/** The bytes of a large matrix: 64 rows of normal numbers, over and over. */
function repeated(type: DType, rows: number, columns: number): Uint8Array {
  const few = Math.min(64, rows);
  const part = quantise(type, random('weight', few * columns), few, columns);
  const bytes = new Uint8Array(rows * rowBytes(type, columns));
  for (let at = 0; at < bytes.length; at += part.length) bytes.set(part.subarray(0, bytes.length - at), at);
  return bytes;
}

/** `rows` rows behind `depth` others, in as many layers as there are calls: each reads its own keys and values. */
export function attentionSpec(type: KvDType, rows: number, depth: number): Spec {
  const cell = 2 * kvHeads * rowBytes(type, headDim);
  return {
    ops: ['attention', 'kv_write'],
    type,
    rows,
    shape: `${heads}/${kvHeads} · ${headDim}, depth ${depth}`,
    open({ threads, level }) {
      const layers = callsOf(depth * cell);
      const kvShape = { layers, kvHeads, keyDim: headDim, valueDim: headDim };
      const builder = new ProgramBuilder('attention', () => undefined);
      const [q, k, v] = [heads, kvHeads, kvHeads].map((count, index) =>
        builder.input('qkv'[index], 'F32', 'rows', count * headDim),
      );
      let y: Value | undefined;
      for (let layer = 0; layer < layers; ++layer) {
        builder.kvWrite(k, v, layer);
        y = builder.attention(q, { layer, heads, valueDim: headDim, scale: headDim ** -0.5 });
      }
      const program = new NativeProgram(builder.finish({ y: y as Value }, kvShape), () => never(), {
        threads,
        isa: level,
      });
      const id = dtypes[type].id;
      const kv = new (native().KvCache)({ ...kvShape, pageSize: 32, keyType: id, valueType: id, maxPages: depth });
      const sequence = kv.create();
      const runOf = (count: number): Run => ({
        inputs: {
          q: numbers('q', count * heads * headDim),
          k: numbers('k', count * kvHeads * headDim),
          v: numbers('v', count * kvHeads * headDim),
        },
        batch: {
          tokens: new Int32Array(count),
          positions: Int32Array.from({ length: count }, (_, i) => kv.length(sequence) + i),
          sequences: new Int32Array(count).fill(sequence),
          outputRows: new Int32Array(0),
          kv,
        },
      });
      while (kv.length(sequence) < depth) {
        const { inputs, batch } = runOf(Math.min(512, depth - kv.length(sequence)));
        program.runSync(inputs, batch);
      }
      return {
        program,
        run: { ...runOf(rows), after: () => kv.truncate(sequence, depth) },
        dispose: () => {
          program.dispose();
          kv.close();
        },
      };
    },
  };
}
