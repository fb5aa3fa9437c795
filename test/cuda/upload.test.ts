// Weights of more pieces than there are buffers on their way to the emulated card: stored ones by what embedding reads,
// those that get an order of their own by products with them.
import { rowBytes } from '../../lib/program/dtype.js';
import { ProgramBuilder } from '../../lib/program/builder.js';
import { NativeProgram } from '../../lib/program/native-program.js';
import { Generator } from '../fixtures/random/generator.js';
import { emulatedDevice, runNative } from '../ops/executors.js';
import { expectClose, expectSameBits } from '../ops/op-case.js';

/** Q8_0 blocks with scales of 1 to 2 and any codes. */
function blocks(rows: number, columns: number): Uint8Array {
  const generator = new Generator(1, `blocks ${rows}`);
  const bytes = Uint8Array.from({ length: rows * rowBytes('Q8_0', columns) }, () => generator.next() & 255);
  for (let at = 0; at < bytes.length; at += 34) bytes[at + 1] = 0x3c;
  return bytes;
}

test('all pieces arrive where they belong', async () => {
  const device = emulatedDevice();
  if (!device) return; // a build without it
  const columns = 2048;
  const [vocab, out] = [5000, 20_011]; // 11 and 44 MB: two and six pieces of 8 MiB, the last ones short
  const weights: Record<string, Uint8Array> = { table: blocks(vocab, columns), matrix: blocks(out, columns) };
  const builder = new ProgramBuilder('upload', (name) => ({
    dtype: 'Q8_0',
    shape: [name === 'table' ? vocab : out, columns],
  }));
  const tokens = builder.input('tokens', 'I32', 'rows', 1);
  const x = builder.embedding(builder.weight('table', [vocab, columns]), tokens);
  const program = builder.finish({ x, y: builder.linear(x, builder.weight('matrix', [out, columns])) });
  const inputs = { tokens: Int32Array.of(0, 1500, 3855, vocab - 1) };
  const wanted = runNative(program, (name) => weights[name], inputs, { threads: 2 });

  const compiled = new NativeProgram(program, (name) => weights[name], { device, repack: false });
  let done = 0;
  for (let calls = 0; done < 1; ++calls) {
    const next = await compiled.executable.pack(2 ** 20);
    expect(next).toBeGreaterThan(done);
    expect(calls).toBeLessThan(100);
    done = next;
  }
  const { x: rows, y } = compiled.runSync(inputs);
  compiled.dispose();
  expectSameBits(rows, wanted['x'], 'rows of the table');
  expectClose(y, wanted['y'], 1e-4, 2); // sums of 2048 products of up to 30 000
}, 120_000);

test('what a model will take is known before anything is moved', async () => {
  const device = emulatedDevice();
  if (!device) return; // a build without it
  const [vocab, hidden, columns] = [70, 224, 96]; // strips and units of fragments that are not full
  const weights: Record<string, Uint8Array> = {
    table: blocks(vocab, columns),
    up: blocks(hidden, columns),
    down: blocks(vocab, hidden),
  };
  const shapes: Record<string, [number, number]> = {
    table: [vocab, columns],
    up: [hidden, columns],
    down: [vocab, hidden],
  };
  const builder = new ProgramBuilder('planned', (name) => ({ dtype: 'Q8_0', shape: shapes[name] }));
  const tokens = builder.input('tokens', 'I32', 'rows', 1);
  const wanted = builder.input('output_rows', 'I32', 'outputs', 1);
  const weight = (name: string): ReturnType<typeof builder.weight> => builder.weight(name, shapes[name]);
  const x = builder.embedding(weight('table'), tokens);
  const y = builder.linear(builder.rowSelect(builder.linear(x, weight('up')), wanted), weight('down'));
  const program = builder.finish({ y });
  const compiled = new NativeProgram(program, (name) => weights[name], { device, repack: false });
  const planned = compiled.executable.sizes();
  expect(planned.packed).toBeGreaterThan(0);
  expect(planned.values).toBe(0);
  while ((await compiled.executable.pack(2 ** 20)) < 1);
  compiled.runSync({
    tokens: Int32Array.from({ length: 512 }, (_, row) => row % vocab),
    output_rows: Int32Array.from({ length: 64 }, (_, i) => 511 - i),
  });
  const used = compiled.executable.sizes();
  compiled.dispose();
  expect(used.packed).toBe(planned.packed);
  expect(used.values).toBe(planned.round);
  expect(used.round).toBe(planned.round);
});
