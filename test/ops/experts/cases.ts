// Experts with random weights: the op's program, and what one expert after the other computes by linear and gated_linear.
import { ProgramBuilder } from '../../../lib/program/builder.js';
import { rowBytes } from '../../../lib/program/dtype.js';
import type { DType } from '../../../lib/program/dtype.js';
import { NativeProgram } from '../../../lib/program/native-program.js';
import type { NativeProgramOptions } from '../../../lib/program/native-program.js';
import type { Program } from '../../../lib/program/program.js';
import { Generator } from '../../fixtures/random/generator.js';
import { randomMatrix } from '../../fixtures/random/blocks.js';
import { random } from '../op-case.js';

export interface Experts {
  readonly dtype: DType;
  readonly experts: number;
  readonly used: number;
  readonly width: number;
  readonly hidden: number;
}

export type Weights = Readonly<Record<'gate' | 'up' | 'down', Uint8Array>>;

/** `shows` as for the program: what only makes `h` needs no down. */
export function expertWeights({ dtype, experts, width, hidden }: Experts, shows: 'y' | 'h' = 'y'): Weights {
  const side = (name: string, rows: number, columns: number): Uint8Array => {
    return randomMatrix(new Generator(3, `${name} ${dtype}`), dtype, experts * rows, columns, 1 / Math.sqrt(columns));
  };
  return {
    gate: side('gate', hidden, width),
    up: side('up', hidden, width),
    down: shows === 'y' ? side('down', width, hidden) : new Uint8Array(),
  };
}

/** Inputs x [rows, width], ids and weights [rows, used], residual [rows, width]; outputs y, and h where it is asked for. */
export function expertProgram({ dtype, experts, used, width, hidden }: Experts, shows: 'y' | 'h' = 'y'): Program {
  const builder = new ProgramBuilder('experts', (name) => ({
    dtype,
    shape: name === 'down' ? [experts, width, hidden] : [experts, hidden, width],
  }));
  const x = builder.input('x', 'F32', 'rows', width);
  const ids = builder.input('ids', 'I32', 'rows', used);
  const side = (name: string) => builder.weight(name, [experts, hidden, width]);
  const h = builder.expertGateUp(x, [side('gate'), side('up')], ids, { experts, activation: 'silu' });
  if (shows === 'h') return builder.finish({ y: h });
  const weights = builder.input('weights', 'F32', 'rows', used);
  const residual = builder.input('residual', 'F32', 'rows', width);
  const down = builder.weight('down', [experts, width, hidden]);
  return builder.finish({ y: builder.add(residual, builder.expertDown(h, down, { ids, weights }, experts)) });
}

export interface Routed {
  readonly x: Float32Array;
  readonly ids: Int32Array;
  readonly weights: Float32Array;
  readonly residual: Float32Array;
}

/** Rows that choose experts at random, each another; `chooses` changes that. */
export function routedRows(
  { experts, used, width }: Experts,
  rows: number,
  chooses?: (row: number, slot: number) => number,
): Routed {
  const generator = new Generator(2, 'ids');
  const ids = Int32Array.from({ length: rows * used }, () => 0);
  for (let row = 0; row < rows; ++row) {
    const free = Array.from({ length: experts }, (_, e) => e);
    for (let slot = 0; slot < used; ++slot) {
      const drawn = free.splice(generator.integer(0, free.length - 1), 1)[0];
      ids[row * used + slot] = chooses?.(row, slot) ?? drawn;
    }
  }
  return {
    x: random('x', rows * width),
    ids,
    weights: random('weights', rows * used),
    residual: random('residual', rows * width),
  };
}

export function someRows(
  { x, ids, weights, residual }: Routed,
  { used, width }: Experts,
  first: number,
  count: number,
): Routed {
  const cut = <T extends Float32Array | Int32Array>(values: T, columns: number): T =>
    values.slice(first * columns, (first + count) * columns) as T;
  return { x: cut(x, width), ids: cut(ids, used), weights: cut(weights, used), residual: cut(residual, width) };
}

/** One run; the output starts as NaN. */
export function runExperts(
  program: Program,
  weights: Weights,
  rows: Routed,
  options: NativeProgramOptions,
): Float32Array {
  const compiled = new NativeProgram(program, (name) => weights[name as keyof Weights], options);
  const given = Object.fromEntries(
    Object.entries(rows).filter(([name]) =>
      program.values.some((value) => value.kind === 'input' && value.name === name),
    ),
  ) as Record<string, Float32Array>;
  const count = rows.ids.length / (program.values.find((value) => value.name === 'ids')?.columns ?? 1);
  try {
    const y = new Float32Array(count * program.outputs['y'].columns).fill(NaN);
    return compiled.runSync(given, undefined, { y })['y'];
  } finally {
    compiled.dispose();
  }
}

/** What expert `e` makes of every row, on a level of instructions or a card: h, gated_linear's values [rows, hidden], or y, linear's of them [rows, width]. */
export function expertAlone(
  { dtype, width, hidden }: Experts,
  weights: Weights,
  e: number,
  x: Float32Array,
  on: string | NativeProgramOptions,
  shows: 'y' | 'h',
): Float32Array {
  const slice = (bytes: Uint8Array, experts: number): Uint8Array =>
    bytes.subarray((bytes.length / experts) * e, (bytes.length / experts) * (e + 1));
  const experts = weights.gate.length / (hidden * rowBytes(dtype, width));
  const options = typeof on === 'string' ? { isa: on } : on;
  const build = () => {
    const builder = new ProgramBuilder('alone', (name) => ({
      dtype,
      shape: name === 'down' ? [width, hidden] : [hidden, width],
    }));
    const input = builder.input('x', 'F32', 'rows', width);
    const [gate, up] = ['gate', 'up'].map((name) => builder.linear(input, builder.weight(name, [hidden, width])));
    const h = builder.gatedActivation(gate, up, 'silu');
    return builder.finish({ y: shows === 'h' ? h : builder.linear(h, builder.weight('down', [width, hidden])) });
  };
  const compiled = new NativeProgram(build(), (name) => slice(weights[name as keyof Weights], experts), options);
  const { y } = compiled.runSync({ x });
  compiled.dispose();
  return y;
}
