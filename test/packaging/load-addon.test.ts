// When there is no addon, or one that cannot be loaded, the error says what was looked for, where, and what to do.
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execute, root } from './tarball.js';

interface Failure {
  code: string;
  message: string;
  remedy: string;
  hasCause: boolean;
}

let folder: string;
const machine = `${process.platform}-${process.arch}`;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vivace-loader-'));
  mkdirSync(join(folder, 'dist', 'native'), { recursive: true });
  for (const name of ['native/load-addon.js', 'errors.js'])
    cpSync(join(root, 'dist', name), join(folder, 'dist', name));
  cpSync(join(root, 'package.json'), join(folder, 'package.json'));
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'), 'junction');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function load(): Failure {
  const script = `try { require('./dist/native/load-addon.js').loadAddon(); console.log('{}'); } catch (error) {
    const { code, message, remedy, cause } = error;
    console.log(JSON.stringify({ code, message, remedy, hasCause: cause instanceof Error }));
  }`;
  const env = { ...process.env };
  for (const name of ['VIVACE_ADDON', 'PREBUILDS_ONLY']) delete env[name];
  return JSON.parse(execute(process.execPath, ['-e', script], folder, env)) as Failure;
}

function put(name: string, content = 'not an addon'): void {
  mkdirSync(join(folder, name, '..'), { recursive: true });
  writeFileSync(join(folder, name), content);
}

test('nothing at all: the places, the machine, and that the package is incomplete', () => {
  const failure = load();
  expect(failure).toMatchObject({ code: 'NATIVE_LOAD_FAILED', hasCause: true });
  expect(failure.message).toContain(machine);
  expect(failure.message).toContain(join('build', 'Release'));
  expect(failure.message).toContain(join('prebuilds', machine));
  expect(failure.remedy).toMatch(/incomplete.*install it again/);
});

test('prebuilt for other machines only: which ones, and how to build', () => {
  put('prebuilds/plan9-mips/vivace.node');
  expect(load()).toMatchObject({ code: 'NATIVE_LOAD_FAILED', remedy: expect.stringMatching(/plan9-mips.*npm ci/) });
});

test('in a checkout: the command that builds it', () => {
  put('CMakeLists.txt');
  expect(load()).toMatchObject({ code: 'NATIVE_LOAD_FAILED', remedy: expect.stringContaining('npm run build:native') });
});

test('a damaged file: its path, and the loader’s own words as the cause', () => {
  put(`prebuilds/${machine}/vivace.node`);
  const failure = load();
  expect(failure).toMatchObject({ code: 'NATIVE_LOAD_FAILED', hasCause: true });
  expect(failure.message).toContain(join('prebuilds', machine, 'vivace.node'));
  expect(failure.remedy).toMatch(/Install the package again/);
});
