// Runs one program on every native level and thread count that this machine has, for comparison with the reference.
import { existsSync } from 'node:fs';
import { native } from '../../lib/native.js';
import type { NativeDevice } from '../../lib/native.js';
import { libraryPlaces } from '../../lib/program/device-library.js';
import { NativeProgram } from '../../lib/program/native-program.js';
import type { BindWeight, NativeBatch, NativeProgramOptions } from '../../lib/program/native-program.js';
import type { Program } from '../../lib/program/program.js';

export interface Variant {
  readonly isa: string;
  readonly threads: number;
  readonly fuse: boolean;
  readonly repack?: boolean; // default true
}

/** Levels that this machine runs, lowest first (baseline, avx2, avx512 or baseline, neon, i8mm). */
export const isaLevels = (): string[] => native().isaLevels();

/** The kernels for cards, on this processor; none in builds without them and for other builds of the addon. */
export const emulatedDevice = (): NativeDevice | undefined => {
  const [library] = libraryPlaces('cuda-emulated');
  return process.env['VIVACE_ADDON'] || !existsSync(library) ? undefined : { library, index: 0 };
};

/** Every level with 1 and 2 threads. */
export const variants = (): Variant[] =>
  isaLevels().flatMap((isa) => [1, 2].map((threads) => ({ isa, threads, fuse: true })));

/** One run on one variant; outputs start as NaN, so that what a kernel forgets to write is seen. */
export function runNative(
  program: Program,
  bindWeight: BindWeight,
  inputs: Readonly<Record<string, Int32Array | Float32Array>>,
  variant: Variant | NativeProgramOptions,
  batch?: NativeBatch,
): Record<string, Float32Array> {
  const compiled = new NativeProgram(program, bindWeight, variant);
  try {
    const rows = batch?.tokens.length ?? rowsOf(program, inputs, 'rows');
    const outputRows = batch?.outputRows.length ?? rowsOf(program, inputs, 'outputs');
    const poisoned: Record<string, Float32Array> = {};
    for (const [name, value] of Object.entries(program.outputs)) {
      const count = value.rows === 'rows' ? rows : value.rows === 'outputs' ? outputRows : value.rows;
      poisoned[name] = new Float32Array(count * value.columns).fill(NaN);
    }
    return compiled.runSync(inputs, batch, poisoned);
  } finally {
    compiled.dispose();
  }
}

function rowsOf(
  program: Program,
  inputs: Readonly<Record<string, Int32Array | Float32Array>>,
  symbol: 'rows' | 'outputs',
): number {
  for (const value of program.values) {
    const data = inputs[value.name];
    if (value.kind === 'input' && value.rows === symbol && data) return data.length / value.columns;
  }
  return symbol === 'rows' ? 1 : 0;
}
