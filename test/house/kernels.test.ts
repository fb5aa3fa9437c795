// What the check of launched kernels (launched-kernels.js) goes by, and that it fails when it must.
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { files, read, root } from './project.js';

interface Kernel {
  readonly file: string;
  readonly name: string;
  readonly emulated: boolean;
}
interface Reporter {
  readonly folder: string;
  kernels(): Kernel[];
  files(folder: string, pattern: RegExp): string[];
  onRunStart(): void;
  onRunComplete(contexts: unknown, results: { testResults: { testFilePath: string }[] }): void;
  getLastError(): Error | undefined;
}
const LaunchedKernels = require('./launched-kernels.js') as {
  new (config: { rootDir: string; testNamePattern?: string }): Reporter;
  kernelsIn(text: string): Omit<Kernel, 'file'>[];
};

const kernels = new LaunchedKernels({ rootDir: root }).kernels();

test('every kernel of cuda/ is found', () => {
  const sources = files.filter((file) => /^cuda\/.*\.(cu|h)$/.test(file) && !file.startsWith('cuda/emulation/'));
  const words = sources.map((file) => [file, read(file).match(/\b__global__\b/g)?.length ?? 0] as const);
  const found = words.map(([file]) => [file, kernels.filter((kernel) => kernel.file === file).length] as const);
  expect(found).toEqual(words);
  expect(kernels.length).toBeGreaterThan(20);
});

test('instructions of cards are written out in cuda/core alone, each beside what emulation does in its place', () => {
  const withAssembly = files.filter((file) => /^cuda\/.*\.(cu|h|cpp)$/.test(file) && /\basm\b/.test(read(file)));
  expect(withAssembly.filter((file) => !file.startsWith('cuda/core/') && !file.startsWith('cuda/emulation/'))).toEqual(
    [],
  );
  expect(withAssembly.length).toBeGreaterThan(1);
  const lonely = withAssembly
    .filter((file) => file.startsWith('cuda/core/'))
    .flatMap((file) => {
      const [onCard, emulated = ''] = read(file).split(/^#else$/m);
      const names = Array.from(onCard.matchAll(/\binline [\w:<>]+ (\w+)\([^{]*\{[^}]*\basm\b/g), ([, name]) => name);
      if (names.length === 0) return [file];
      return names.filter((name) => !new RegExp(`\\binline [\\w:<>]+ ${name}\\(`).test(emulated));
    });
  expect(lonely).toEqual([]);
});

test('kernels are known by their names: no two share one', () => {
  const names = kernels.map(({ name }) => name);
  expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([]);
});

test('names are read whatever stands before them', () => {
  const text = `
__global__ void one(int n) {}
template <int n>
__global__ void __launch_bounds__(32 * warps_of(n), 1) two(int n) {}
// GPU-tested only: wgmma
__global__ void three(int n) {}
// GPU-tested only: wgmma
template <int n>
__global__ void four(int n) {}
`;
  expect(LaunchedKernels.kernelsIn(text)).toEqual([
    { name: 'one', emulated: true },
    { name: 'two', emulated: true },
    { name: 'three', emulated: false },
    { name: 'four', emulated: false },
  ]);
});

describe('the check', () => {
  const before = process.env['VIVACE_EMULATED_KERNELS'];
  const addon = process.env['VIVACE_ADDON'];
  beforeEach(() => delete process.env['VIVACE_ADDON']);
  afterEach(() => {
    jest.restoreAllMocks();
    if (before !== undefined) process.env['VIVACE_EMULATED_KERNELS'] = before;
    if (addon !== undefined) process.env['VIVACE_ADDON'] = addon;
  });

  function outcome(launched: readonly string[], partial: { files?: number; pattern?: string } = {}) {
    jest.spyOn(console, 'error').mockImplementation(() => undefined);
    const reporter = new LaunchedKernels({ rootDir: root, testNamePattern: partial.pattern });
    reporter.onRunStart();
    for (const name of launched) writeFileSync(join(reporter.folder, name), '');
    const paths = reporter.files('test', /\.test\.ts$/).slice(0, partial.files);
    reporter.onRunComplete(undefined, { testResults: paths.map((testFilePath) => ({ testFilePath })) });
    return reporter.getLastError()?.message;
  }
  const names = kernels.map(({ name }) => name);
  const emulated = existsSync(join(root, 'build/Release/vivace-cuda-emulated.so'));

  test('passes when all were launched, and for runs of some tests alone', () => {
    expect(outcome(names)).toBeUndefined();
    expect(outcome([], { files: 3 })).toBeUndefined();
    expect(outcome([], { pattern: 'softmax' })).toBeUndefined();
  });

  (emulated ? test : test.skip)('names the kernels that no test launched', () => {
    expect(outcome(names.filter((name) => name !== 'rotate'))).toMatch(
      /\n {2}rotate in cuda\/ops\/attention\/rope\.cu$/,
    );
  });
});
