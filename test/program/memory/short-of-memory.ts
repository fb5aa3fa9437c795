// Child of repack.test.ts: has address space for less than a weight in panel order, rewrites it all the same, and says what
// became of it, as JSON.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { ProgramBuilder } from '../../../lib/program/builder.js';
import { rowBytes } from '../../../lib/program/dtype.js';
import { NativeExecutor } from '../../../lib/program/native-executor.js';

// 71 MB in panels; 40 MB more than now is enough for everything else.
const [dtype, columns, out, room] = ['Q8_0', 4096, 16384, 40e6] as const;

const builder = new ProgramBuilder('linear', () => ({ dtype, shape: [out, columns] }));
const x = builder.input('x', 'F32', 'rows', columns);
const y = builder.call('linear', [x, builder.weight('weight', [out, columns])], {})[0];
const program = builder.finish({ logits: y }, { layers: 1, kvHeads: 1, keyDim: 32, valueDim: 32 });
// Below 64, so that scales are finite.
const weight = Uint8Array.from({ length: out * rowBytes(dtype, columns) }, (_, i) => (i * 37 + (i >> 9)) & 63);
const input = Float32Array.from({ length: 2 * columns }, (_, i) => Math.sin(i));

const executor = new NativeExecutor(program, () => weight, { threads: 2, repack: false });
const run = (): Buffer => Buffer.from(executor['compiled'].runSync({ x: input })['logits'].buffer);
const limit = (bytes: number | 'unlimited'): void => {
  execFileSync('prlimit', ['--pid', String(process.pid), `--as=${bytes}:`]);
};

async function main(): Promise<void> {
  const before = run();
  const used = 1024 * Number(/^VmSize:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]);
  limit(used + room);

  const thrown: { code?: string; message?: string; remedy?: string } = {};
  try {
    for await (const _ of executor.repack());
  } catch (error) {
    const { code, message, remedy } = error as typeof thrown;
    Object.assign(thrown, { code, message, remedy });
  }
  const warnings: (string | undefined)[] = [];
  process.on('warning', (warning) => warnings.push((warning as Error & { code?: string }).code));
  await executor.repackInBackground();
  await new Promise((next) => setImmediate(next));
  const same = run().equals(before);
  const packedThen = executor['compiled'].executable.sizes().packed;

  limit('unlimited');
  for await (const _ of executor.repack());
  const packed = executor['compiled'].executable.sizes().packed;
  console.log(
    JSON.stringify({ thrown, warnings, same, packedThen, packed, weight: weight.length, later: run().equals(before) }),
  );
}

void main();
