// One op with its inputs, and the laws that every op obeys: the values of the reference on every level, the same bits for
// any team, for a row alone or among others, and when the output takes the place of an input.
import { ProgramBuilder } from '../../lib/program/builder.js';
import type { Program, Rows, Value } from '../../lib/program/program.js';
import { ReferenceProgram } from '../../lib/program/reference/interpreter.js';
import { Generator } from '../fixtures/random/generator.js';
import { emulatedDevice, isaLevels, runNative } from './executors.js';

export type Inputs = Readonly<Record<string, Int32Array | Float32Array>>;
export type DeclareInput = (name: string, columns: number, dtype?: 'I32' | 'F32', rows?: Rows) => Value;

export interface OpCase {
  readonly name: string;
  /** Declares the inputs and returns the output. */
  build(builder: ProgramBuilder, input: DeclareInput): Value;
  readonly inputs: Inputs;
  /** |y − reference| ≤ absolute + relative · |reference| */
  readonly relative?: number; // default 1e-6
  readonly absolute?: number; // default 0
}

const noWeights = (tensor: string): never => {
  throw new Error(`the case has no tensor ${tensor}`);
};

/** The program of a case; with `inPlace`, inputs are copies that the planner may overwrite. */
export function programOf({ name, build }: OpCase, inPlace = false): Program {
  const builder = new ProgramBuilder(name, () => undefined);
  const y = build(builder, (input, columns, dtype = 'F32', rows = 'rows') => {
    const value = builder.input(input, dtype, rows, columns);
    return inPlace && dtype === 'F32' ? builder.scale(value, 1) : value;
  });
  return builder.finish({ y });
}

/** `count` nearly normal numbers. */
export function random(name: string, count: number, size = 1): Float32Array {
  const generator = new Generator(1, name);
  return Float32Array.from({ length: count }, () => size * generator.normal());
}

export function expectClose(actual: ArrayLike<number>, wanted: ArrayLike<number>, relative: number, absolute: number) {
  expect(actual.length).toBe(wanted.length);
  let worst = { excess: 0, index: -1, actual: 0, wanted: 0 };
  for (let index = 0; index < wanted.length; ++index) {
    if (Object.is(actual[index], wanted[index]) || actual[index] === wanted[index]) continue;
    const excess = Math.abs(actual[index] - wanted[index]) / (absolute + relative * Math.abs(wanted[index]));
    if (!(excess <= Math.max(1, worst.excess))) worst = { excess, index, actual: actual[index], wanted: wanted[index] };
  }
  if (worst.index >= 0)
    throw new Error(
      `value ${worst.index} is ${worst.actual}, not ${worst.wanted}: ${worst.excess} times the tolerance`,
    );
}

/** The same numbers, NaN and the sign of zero included. */
export function expectSameBits(actual: Float32Array, wanted: Float32Array, what: string) {
  const bits = (values: Float32Array): Uint32Array => new Uint32Array(values.buffer, values.byteOffset, values.length);
  const [left, right] = [bits(actual), bits(wanted)];
  const index = right.findIndex((value, i) => value !== left[i]);
  if (left.length !== right.length || index >= 0) {
    throw new Error(`${what}: value ${index} is ${actual[index]} instead of ${wanted[index]}`);
  }
}

export function checkCase(opCase: OpCase): void {
  const { inputs, relative = 1e-6, absolute = 0 } = opCase;
  const program = programOf(opCase);
  const inPlace = programOf(opCase, true);
  const { y: wanted } = new ReferenceProgram(program, noWeights).run(inputs);
  checkDevice(opCase, wanted);
  const run = (isa: string, threads: number, which = program, given = inputs): Float32Array =>
    runNative(which, noWeights, given, { isa, threads, fuse: true })['y'];
  for (const isa of isaLevels()) {
    const y = run(isa, 1);
    expectClose(y, wanted, relative, absolute);
    expectSameBits(run(isa, 2), y, `${isa}, two threads`);
    expectSameBits(run(isa, 2, inPlace), y, `${isa}, in place`);
    const [rows, columns] = [rowCount(program, inputs), program.outputs['y'].columns];
    if (program.outputs['y'].rows !== 'rows') continue;
    for (const row of new Set([0, rows >> 1, rows - 1])) {
      const alone = run(isa, 2, program, onlyRow(program, inputs, row));
      expectSameBits(alone, y.slice(row * columns, (row + 1) * columns), `${isa}, row ${row} alone`);
    }
  }
}

const perRow = (program: Program): Value[] =>
  program.values.filter((value) => value.kind === 'input' && value.rows === 'rows');

const rowCount = (program: Program, inputs: Inputs): number =>
  Math.max(0, ...perRow(program).map(({ name, columns }) => inputs[name].length / columns));

/** A device sums up in another order: a few roundings more. */
function checkDevice(opCase: OpCase, wanted: ArrayLike<number>): void {
  const { inputs, relative = 1e-6, absolute = 0 } = opCase;
  const device = emulatedDevice();
  if (!device) return;
  const y = runNative(programOf(opCase), noWeights, inputs, { device })['y'];
  expectClose(y, wanted, 2 * relative, 2 * absolute);
  expectSameBits(runNative(programOf(opCase, true), noWeights, inputs, { device })['y'], y, 'device, in place');
}

function onlyRow(program: Program, inputs: Inputs, row: number): Inputs {
  const cut = perRow(program).map(({ name, columns }) => [
    name,
    inputs[name].slice(row * columns, (row + 1) * columns),
  ]);
  return { ...inputs, ...Object.fromEntries(cut) };
}
