// Programs whose activations are quantised by the op that makes them, run with and without: seen through a linear whose
// weight is the identity, so that every code shows.
import { ProgramBuilder } from '../../../lib/program/builder.js';
import { rowBytes } from '../../../lib/program/dtype.js';
import { NativeProgram } from '../../../lib/program/native-program.js';
import type { Value } from '../../../lib/program/program.js';
import { cardName, emulatedDevice, isaLevels } from '../executors.js';
import { quantise } from '../linear/cases.js';
import { expectSameBits, random } from '../op-case.js';
import type { Inputs } from '../op-case.js';

/** Q8_0 with scale 1 and code 1 on the diagonal. */
export function identity(columns: number): Uint8Array {
  const size = rowBytes('Q8_0', columns);
  const bytes = new Uint8Array(columns * size);
  const view = new DataView(bytes.buffer);
  for (let block = 0; block < bytes.length; block += 34) view.setUint16(block, 0x3c00, true);
  for (let n = 0; n < columns; ++n) bytes[n * size + Math.floor(n / 32) * 34 + 2 + (n % 32)] = 1;
  return bytes;
}

type Make = (builder: ProgramBuilder, input: (name: string) => Value) => Value;

/** One call fewer, the same bits on every level and team and on the emulated card, a row alone or among others. */
export function expectFused(columns: number, make: Make, inputs: Inputs): void {
  const weight = identity(columns);
  const builder = new ProgramBuilder('fused', () => ({ dtype: 'Q8_0', shape: [columns, columns] }));
  const made = make(builder, (name) => builder.input(name, 'F32', 'rows', columns));
  const program = builder.finish({ y: builder.linear(made, builder.weight('weight', [columns, columns])) });
  const device = emulatedDevice();
  for (const isa of device ? [...isaLevels(), cardName] : isaLevels()) {
    const run = (fuse: boolean, threads: number, given: Inputs) => {
      const where = isa === cardName && device ? { device } : { isa, threads };
      const compiled = new NativeProgram(program, () => weight, { ...where, fuse });
      const rows = Object.values(given)[0].length / columns;
      const { y } = compiled.runSync(given, undefined, { y: new Float32Array(rows * columns).fill(NaN) });
      const { calls } = compiled.executable.sizes();
      compiled.dispose();
      return { y, calls };
    };
    const [plain, fused] = [run(false, 1, inputs), run(true, 1, inputs)];
    expect(fused.calls).toBe(plain.calls - 1);
    expectSameBits(fused.y, plain.y, isa);
    expectSameBits(run(true, 3, inputs).y, plain.y, `${isa}, three threads`);
    const last = Object.values(inputs)[0].length / columns - 1;
    const alone = Object.fromEntries(
      Object.entries(inputs).map(([name, data]) => [name, data.slice(last * columns)]),
    ) as Inputs;
    expectSameBits(run(true, 2, alone).y, plain.y.slice(last * columns), `${isa}, the last row alone`);
  }
}

/** The number of calls that fusing spares. */
export function callsSpared(program: ReturnType<ProgramBuilder['finish']>, weight: Uint8Array): number {
  const calls = [false, true].map((fuse) => {
    const compiled = new NativeProgram(program, () => weight, { fuse });
    const { calls: count } = compiled.executable.sizes();
    compiled.dispose();
    return count;
  });
  return calls[0] - calls[1];
}

/**
 * The same where a row has one scale, which cards alone fuse: one call fewer on the emulated card, the same bits; none
 * fewer on the CPU.
 */
export function expectTokensFused(columns: number, make: Make, inputs: Inputs): void {
  const device = emulatedDevice();
  const out = 8;
  const weight = quantise('W8A8', random('weight', out * columns), out, columns);
  const builder = new ProgramBuilder('fused', () => ({ dtype: 'W8A8', shape: [out, columns] }));
  const made = make(builder, (name) => builder.input(name, 'F32', 'rows', columns));
  const program = builder.finish({ y: builder.linear(made, builder.weight('weight', [out, columns])) });
  expect(callsSpared(program, weight)).toBe(0);
  if (!device) return; // a build without it
  const run = (fuse: boolean, given: Inputs) => {
    const compiled = new NativeProgram(program, () => weight, { device, fuse });
    const rows = Object.values(given)[0].length / columns;
    const { y } = compiled.runSync(given, undefined, { y: new Float32Array(rows * out).fill(NaN) });
    const { calls } = compiled.executable.sizes();
    compiled.dispose();
    return { y, calls };
  };
  const [plain, fused] = [run(false, inputs), run(true, inputs)];
  expect(fused.calls).toBe(plain.calls - 1);
  expectSameBits(fused.y, plain.y, 'fused');
  const last = Object.values(inputs)[0].length / columns - 1;
  const alone = Object.fromEntries(Object.entries(inputs).map(([name, data]) => [name, data.slice(last * columns)]));
  expectSameBits(run(true, alone as Inputs).y, plain.y.slice(last * out), 'the last row alone');
}
