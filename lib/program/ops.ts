// The typed signatures of all ops: the same rows as cpp/ops/registry.cpp. Shapes are checked here, in words.
import { VivaceError } from '../errors.js';
import type { DType } from './dtype.js';
import { dtypes, inGguf } from './dtype.js';
import type { Rows, Value } from './program.js';

export interface Attribute {
  readonly name: string;
  /** Absent: required. */
  readonly fallback?: number;
  /** An enumeration: the value is an index into these words. */
  readonly words?: readonly string[];
}

export interface OutputShape {
  readonly dtype: DType;
  readonly rows: Rows;
  readonly columns: number;
}

export interface OpSignature {
  /** Names of inputs; a trailing `?` marks an optional one. */
  readonly inputs: readonly string[];
  readonly attributes: readonly Attribute[];
  /** Uses the KV cache: its place in the list matters. */
  readonly state?: 'reads' | 'writes';
  /** Checks shapes and types and gives the outputs' shapes. */
  infer(call: Checker): readonly OutputShape[];
}

/** What `infer` sees: inputs by name, attributes by name, and a way to complain that names the op and the tensor. */
export interface Checker {
  input(name: string): Value;
  optional(name: string): Value | undefined;
  attribute(name: string): number;
  require(condition: boolean, tensor: string, message: string): void;
}

const f32 = (rows: Rows, columns: number): OutputShape => ({ dtype: 'F32', rows, columns });

function float(c: Checker, name: string): Value {
  const value = c.input(name);
  if (value.dtype !== 'F32') {
    throw new VivaceError('DTYPE_MISMATCH', `${name} (\`${value.name}\`) must be F32, is ${value.dtype}`);
  }
  return value;
}

function vector(c: Checker, name: string, columns: number): void {
  const value = c.optional(name);
  if (value === undefined) return;
  float(c, name);
  c.require(value.rows === 1 && value.columns === columns, name, `must be [1, ${columns}]`);
}

/** Elementwise on one input. */
const pointwise = (...attributes: Attribute[]): OpSignature => ({
  inputs: ['x'],
  attributes,
  infer: (c) => {
    const x = float(c, 'x');
    return [f32(x.rows, x.columns)];
  },
});

/** Elementwise on two inputs; `b` may be one row for all. */
const binary: OpSignature = {
  inputs: ['a', 'b'],
  attributes: [],
  infer: (c) => {
    const a = float(c, 'a');
    const b = float(c, 'b');
    c.require(b.columns === a.columns && (b.rows === a.rows || b.rows === 1), 'b', `must match a ${shapeOf(a)}`);
    return [f32(a.rows, a.columns)];
  },
};

const norm = (inputs: string[]): OpSignature => ({
  inputs,
  attributes: [{ name: 'epsilon' }],
  infer: (c) => {
    const x = float(c, 'x');
    const weight = float(c, 'weight');
    c.require(
      weight.rows === 1 && x.columns % weight.columns === 0,
      'weight',
      `must divide the ${x.columns} columns of x`,
    );
    vector(c, 'bias?', weight.columns);
    return [f32(x.rows, x.columns)];
  },
});

export const activations = ['silu', 'gelu_tanh'] as const;
export const ropeLayouts = ['adjacent', 'halves'] as const;
export const scorings = ['softmax', 'sigmoid'] as const;
/** What a group of experts is worth: its best one, or the sum of its best two. */
export const groupScores = ['max', 'top2'] as const;
const switches = ['off', 'on'] as const;

/** Matrices of `experts` experts below each other; the number of rows of each. */
function stacked(c: Checker, name: string): number {
  const weight = c.input(name);
  const rows = (weight.rows as number) / c.attribute('experts');
  c.require(isFloatOrBlocks(weight.dtype), name, `has type ${weight.dtype}; experts are of floats or GGUF's types`);
  c.require(Number.isInteger(rows), name, `must hold ${c.attribute('experts')} matrices below each other`);
  return rows;
}

const isFloatOrBlocks = (dtype: DType): boolean => dtypes[dtype].weight && inGguf(dtype);

export const ops = {
  /** y[r] = scale · dequantise(weight[tokens[r]]) */
  embedding: {
    inputs: ['weight', 'tokens'],
    attributes: [{ name: 'scale', fallback: 1 }],
    infer: (c) => {
      const weight = c.input('weight');
      const tokens = c.input('tokens');
      c.require(dtypes[weight.dtype].weight, 'weight', `has type ${weight.dtype}, which is no weight type`);
      c.require(tokens.dtype === 'I32' && tokens.columns === 1, 'tokens', 'must be I32 [rows, 1]');
      return [f32(tokens.rows, weight.columns)];
    },
  },
  /** y = x / √(mean(x²) + ε) · weight, over consecutive groups of weight's width (head norms: several per row) */
  rms_norm: norm(['x', 'weight']),
  /** y = (x − mean) / √(variance + ε) · weight + bias, over consecutive groups of weight's width */
  layer_norm: norm(['x', 'weight', 'bias?']),
  /** y = x · weightᵀ + bias + residual; weight [out, in] of any weight type */
  linear: {
    inputs: ['x', 'weight', 'bias?', 'residual?'],
    attributes: [],
    infer: (c) => {
      const x = float(c, 'x');
      const weight = c.input('weight');
      c.require(dtypes[weight.dtype].weight, 'weight', `has type ${weight.dtype}, which is no weight type`);
      c.require(typeof weight.rows === 'number', 'weight', 'must have a fixed number of rows');
      c.require(weight.columns === x.columns, 'weight', `has ${weight.columns} columns, x has ${x.columns}`);
      vector(c, 'bias?', weight.rows as number);
      const residual = c.optional('residual?');
      c.require(
        !residual || (residual.rows === x.rows && residual.columns === weight.rows),
        'residual?',
        'must be [rows, out]',
      );
      return [f32(x.rows, weight.rows as number)];
    },
  },
  /** table[r] = magnitude · (cos(p·f_0) … cos(p·f_{d/2−1}), sin(p·f_0) …), p = positions[r] */
  rope_table: {
    inputs: ['positions', 'frequencies'],
    attributes: [{ name: 'magnitude', fallback: 1 }],
    infer: (c) => {
      const positions = c.input('positions');
      const frequencies = float(c, 'frequencies');
      c.require(positions.dtype === 'I32' && positions.columns === 1, 'positions', 'must be I32 [rows, 1]');
      c.require(frequencies.rows === 1, 'frequencies', 'must be [1, dimensions / 2]');
      return [f32(positions.rows, frequencies.columns * 2)];
    },
  },
  /**
   * Rotates the first d values of each head by the table's angles: pair (x_a, x_b) → (x_a cos − x_b sin, x_b cos + x_a sin).
   * The input's pairs are (2j, 2j+1) (`adjacent`) or (j, j+d/2) (`halves`); the output is always in halves, so that
   * a model gives the same bits from either file layout. Values beyond d are copied.
   */
  rope: {
    inputs: ['x', 'table'],
    attributes: [{ name: 'heads' }, { name: 'layout', words: ropeLayouts }],
    infer: (c) => {
      const x = float(c, 'x');
      const table = float(c, 'table');
      c.require(x.columns % c.attribute('heads') === 0, 'x', `must divide into ${c.attribute('heads')} heads`);
      c.require(
        table.rows === x.rows && table.columns <= x.columns / c.attribute('heads'),
        'table',
        'must be [rows, d ≤ head width]',
      );
      return [f32(x.rows, x.columns)];
    },
  },
  /** Stores k and v of every row in its cell of the KV cache, in the cache's types. */
  kv_write: {
    inputs: ['k', 'v'],
    attributes: [{ name: 'layer' }],
    state: 'writes',
    infer: (c) => {
      c.require(float(c, 'k').rows === float(c, 'v').rows, 'v', 'must have the rows of k');
      return [];
    },
  },
  /** Fetches the cells that rows of a later layer seem to choose, whose queries q guesses; nothing where they are in memory. */
  choose_ahead: {
    inputs: ['q'],
    attributes: [{ name: 'layer' }, { name: 'heads' }, { name: 'window', fallback: 0 }],
    state: 'reads',
    infer: (c) => {
      c.require(
        float(c, 'q').columns % c.attribute('heads') === 0,
        'q',
        `must divide into ${c.attribute('heads')} heads`,
      );
      return [];
    },
  },
  /**
   * y[r] = softmax(mask(softcap(scale · q[r]·Kᵀ))) · V over the cells that row r sees, per query head; query head h uses
   * KV head ⌊h / (heads / kvHeads)⌋. softcap 0: none. window 0: none, else only keys with position > p − window.
   */
  attention: {
    inputs: ['q'],
    attributes: [
      { name: 'layer' },
      { name: 'heads' },
      { name: 'value_dim' },
      { name: 'scale' },
      { name: 'softcap', fallback: 0 },
      { name: 'window', fallback: 0 },
    ],
    state: 'reads',
    infer: (c) => {
      const q = float(c, 'q');
      c.require(q.columns % c.attribute('heads') === 0, 'q', `must divide into ${c.attribute('heads')} heads`);
      return [f32(q.rows, c.attribute('heads') * c.attribute('value_dim'))];
    },
  },
  /** y = activation(gate) · up; silu(x) = x/(1+e^−x), gelu_tanh(x) = x/2·(1 + tanh(√(2/π)(x + 0.044715x³))) */
  gated_activation: {
    inputs: ['gate', 'up'],
    attributes: [{ name: 'activation', words: activations }],
    infer: (c) => {
      const gate = float(c, 'gate');
      const up = float(c, 'up');
      c.require(gate.rows === up.rows && gate.columns === up.columns, 'up', `must match gate ${shapeOf(gate)}`);
      return [f32(gate.rows, gate.columns)];
    },
  },
  add: binary,
  mul: binary,
  /** y = factor · x */
  scale: pointwise({ name: 'factor' }),
  /** y = cap · tanh(x / cap) */
  soft_cap: pointwise({ name: 'cap' }),
  /** y[i] = x[indices[i]] */
  row_select: {
    inputs: ['x', 'indices'],
    attributes: [],
    infer: (c) => {
      const x = float(c, 'x');
      const indices = c.input('indices');
      c.require(indices.dtype === 'I32' && indices.columns === 1, 'indices', 'must be I32 [outputs, 1]');
      return [f32(indices.rows, x.columns)];
    },
  },
  /** y[r][i] = x[r][indices[i]] */
  column_select: {
    inputs: ['x', 'indices'],
    attributes: [],
    infer: (c) => {
      const x = float(c, 'x');
      const indices = c.input('indices');
      c.require(indices.dtype === 'I32' && indices.rows === 1, 'indices', 'must be I32 [1, columns]');
      return [f32(x.rows, indices.columns)];
    },
  },
  /** y[r] = (a[r], b[r]) */
  concat: {
    inputs: ['a', 'b'],
    attributes: [],
    infer: (c) => {
      const [a, b] = [float(c, 'a'), float(c, 'b')];
      c.require(b.rows === a.rows, 'b', "must have a's rows");
      return [f32(a.rows, a.columns + b.columns)];
    },
  },
  /**
   * Which experts a row goes to: the `used` best by softmax or sigmoid of its logits, plus bias; equal ones by their number.
   * weights: their scores without bias, over their sum if `normalise`, times `scale`. Of several groups of experts only the
   * best `groups_used` take part. ids: I32 [rows, used], best first; weights [rows, used].
   */
  route: {
    inputs: ['logits', 'bias?'],
    attributes: [
      { name: 'used' },
      { name: 'scoring', words: scorings },
      { name: 'normalise', words: switches },
      { name: 'scale', fallback: 1 },
      { name: 'groups', fallback: 1 },
      { name: 'groups_used', fallback: 1 },
      { name: 'group_score', words: groupScores, fallback: 0 },
    ],
    infer: (c) => {
      const logits = float(c, 'logits');
      const [used, groups, groupsUsed] = ['used', 'groups', 'groups_used'].map((name) => c.attribute(name));
      const experts = logits.columns;
      c.require(experts <= 1024, 'logits', 'has more than 1024 experts');
      const fits = experts % groups === 0 && groupsUsed >= 1 && groupsUsed <= groups;
      c.require(fits, 'logits', `does not divide into ${groups} groups of which ${groupsUsed} are used`);
      const most = (experts / groups) * groupsUsed;
      c.require(Number.isInteger(used) && used >= 1 && used <= most, 'logits', `offers ${most} experts, not ${used}`);
      vector(c, 'bias?', experts);
      return [{ dtype: 'I32', rows: logits.rows, columns: used }, f32(logits.rows, used)];
    },
  },
  /**
   * y[r] = for every slot, activation(x[r] · gateᵀ) · (x[r] · upᵀ) of the expert ids[r][slot], side by side: [rows, used ·
   * columns]; gate, up: [experts · columns, in]. Zeros where an id is none of an expert.
   */
  expert_gate_up: {
    inputs: ['x', 'gate', 'up', 'ids'],
    attributes: [{ name: 'experts' }, { name: 'activation', words: activations }],
    infer: (c) => {
      const [x, ids] = [float(c, 'x'), c.input('ids')];
      const columns = stacked(c, 'gate');
      c.require(stacked(c, 'up') === columns, 'up', "must have gate's rows");
      c.require(
        c.input('up').dtype === c.input('gate').dtype,
        'up',
        `is ${c.input('up').dtype}, must have gate's type`,
      );
      for (const name of ['gate', 'up']) {
        c.require(c.input(name).columns === x.columns, name, `must have the ${x.columns} columns of x`);
      }
      c.require(ids.dtype === 'I32' && ids.rows === x.rows, 'ids', 'must be I32 [rows, used]');
      return [f32(x.rows, ids.columns * columns)];
    },
  },
  /** y[r] = Σ weights[r][slot] · (x[r][slot] · weightᵀ of the expert ids[r][slot]) + residual[r], in the order of slots. */
  expert_down: {
    inputs: ['x', 'weight', 'ids', 'weights', 'residual?'],
    attributes: [{ name: 'experts' }],
    infer: (c) => {
      const [x, weight, ids, weights] = [float(c, 'x'), c.input('weight'), c.input('ids'), float(c, 'weights')];
      const out = stacked(c, 'weight');
      c.require(ids.dtype === 'I32' && ids.rows === x.rows, 'ids', 'must be I32 [rows, used]');
      c.require(x.columns === ids.columns * weight.columns, 'x', `must be [rows, ${ids.columns} · ${weight.columns}]`);
      c.require(weights.rows === x.rows && weights.columns === ids.columns, 'weights', 'must be [rows, used]');
      const residual = c.optional('residual?');
      c.require(
        !residual || (residual.rows === x.rows && residual.columns === out),
        'residual?',
        'must be [rows, out]',
      );
      return [f32(x.rows, out)];
    },
  },
  /** y[r] = x[r] / (1 + e^−gate[r]), gate [rows, 1] */
  sigmoid_gate: {
    inputs: ['x', 'gate'],
    attributes: [],
    infer: (c) => {
      const [x, gate] = [float(c, 'x'), float(c, 'gate')];
      c.require(gate.rows === x.rows && gate.columns === 1, 'gate', 'must be [rows, 1]');
      return [f32(x.rows, x.columns)];
    },
  },
  /** Over each row, in a way that does not overflow. */
  softmax: pointwise(),
  log_softmax: pointwise(),
} as const satisfies Record<string, OpSignature>;

export type OpName = keyof typeof ops;

export const shapeOf = (value: Pick<Value, 'rows' | 'columns'>): string => `[${value.rows}, ${value.columns}]`;
