// q, k and v in one launch on the emulated card: the first run of a shape launches calls one by one, later ones come from
// a graph in which neighbours that multiply the same values are joined. The bits are the same.
import { ProgramBuilder } from '../../../lib/program/builder.js';
import type { DType } from '../../../lib/program/dtype.js';
import { NativeProgram } from '../../../lib/program/native-program.js';
import { emulatedDevice } from '../executors.js';
import { expectSameBits, random } from '../op-case.js';
import { quantise } from './cases.js';

const outs = { q: 96, k: 37, v: 200, more: 16 }; // one more than a launch takes

const types: DType[] = ['Q4_0', 'Q4_K', 'W4A16_G128', 'W8A16'];
test.each(types.flatMap((dtype) => [256, 2304].map((columns) => [dtype, columns] as const)))(
  '%s of %d columns',
  (dtype, columns) => {
    const device = emulatedDevice();
    if (!device) return; // a build without it
    const shapes = new Map(Object.entries(outs));
    const builder = new ProgramBuilder('joined', (name) => ({ dtype, shape: [shapes.get(name) ?? 0, columns] }));
    const x = builder.input('x', 'F32', 'rows', columns);
    const outputs = Object.fromEntries(
      [...shapes].map(([name, out]) => {
        const bias = name === 'k' ? builder.constant('bias', 1, out, random('bias', out)) : undefined;
        return [name, builder.linear(x, builder.weight(name, [out, columns]), bias)];
      }),
    );
    const weights = new Map(
      [...shapes].map(([name, out]) => [name, quantise(dtype, random(name, out * columns), out, columns)]),
    );
    const program = builder.finish(outputs);
    const bytesOf = (name: string): Uint8Array => {
      const bytes = weights.get(name);
      if (!bytes) throw new Error(`no weight ${name}`);
      return bytes;
    };
    const [fresh, warm] = [1, 2].map(() => new NativeProgram(program, bytesOf, { device }));
    for (const rows of [1, 11, 40]) {
      const run = (compiled: NativeProgram, name: string) =>
        compiled.runSync({ x: random(`${name} ${rows}`, rows * columns) });
      const wanted = run(fresh, 'x');
      // Other values first: what a launch forgets would be seen.
      run(warm, 'first');
      run(warm, 'second');
      const joined = run(warm, 'x');
      for (const name of shapes.keys()) expectSameBits(joined[name], wanted[name], `${rows} rows, ${name}`);
    }
    fresh.dispose();
    warm.dispose();
  },
);
