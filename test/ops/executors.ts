// Runs one program on every native level and thread count that this machine has, for comparison with the reference.
import { existsSync } from 'node:fs';
import { native } from '../../lib/native.js';
import type { NativeDevice } from '../../lib/native.js';
import { libraryPlaces } from '../../lib/program/device-library.js';
import type { DeviceName } from '../../lib/program/device-library.js';
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

/** What stands for a card in tests: emulation, or with VIVACE_TEST_DEVICE=cuda in the environment a real one. */
export const cardName: DeviceName = process.env['VIVACE_TEST_DEVICE'] === 'cuda' ? 'cuda' : 'cuda-emulated';

/** The card, if its library is there: builds without emulation have none, nor have other builds of the addon. */
export const emulatedDevice = (): NativeDevice | undefined => {
  const library = libraryPlaces(cardName).find((path) => existsSync(path));
  return process.env['VIVACE_ADDON'] || library === undefined ? undefined : { library, index: 0 };
};

/** Devices that run models here, the CPU first. */
export function testDevices(): ('cpu' | DeviceName)[] {
  if (emulatedDevice()) return ['cpu', cardName];
  console.log(
    `Not on a card: there is no library for '${cardName}' (npm run build), or VIVACE_ADDON names another addon.`,
  );
  return ['cpu'];
}

/** Every level with 1 and 2 threads. */
export const variants = (): Variant[] =>
  isaLevels().flatMap((isa) => [1, 2].map((threads) => ({ isa, threads, fuse: true })));

/** All of these, and the emulated card where there is one, with a name for each. */
export const variantsAndCard = (): (readonly [string, Variant | NativeProgramOptions])[] => {
  const device = emulatedDevice();
  return [
    ...variants().map((variant) => [`${variant.isa}, ${variant.threads} threads`, variant] as const),
    ...(device ? [['card', { device }] as const] : []),
  ];
};

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
