// The package `vivace-cuda`, installed beside vivace: it is found there, and without it the error says how to get it. In its
// library's place is the emulated one, so that a model runs on it.
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { emulatedDevice } from '../ops/executors.js';
import { execute, install, manifest, npm, pack, root } from './tarball.js';

const emulated = emulatedDevice()?.library;
const real = join(root, 'build-cuda', 'vivace-cuda.so');
const whenEmulated = emulated === undefined ? test.skip : test;

let folder: string;
let app: string;
let env: NodeJS.ProcessEnv;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'vivace-cuda-package-'));
  ({ app, env } = install(pack(folder), folder));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Report {
  readonly device: string;
  readonly usable: boolean;
  readonly reason?: string;
  readonly remedy?: string;
  readonly name?: string;
  readonly library?: string;
}

function cuda(): Report {
  const command = join(app, 'node_modules', 'vivace', manifest.bin['vivace']);
  const { devices } = JSON.parse(execute(process.execPath, [command, 'inspect', '--devices', '--json'], app, env)) as {
    devices: Report[];
  };
  return devices.find(({ device }) => device === 'cuda') as Report;
}

/** Packs a library and installs the package; the tarball's files. */
function installLibrary(library: string): string[] {
  const out = join(folder, 'cuda');
  mkdirSync(out, { recursive: true });
  execute(process.execPath, [join(root, 'scripts', 'gpu', 'pack.mjs'), '--library', library, '--out', out], root);
  const tarball = join(out, `vivace-cuda-${manifest.version}.tgz`);
  npm(['install', tarball, '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund'], app, env);
  return execute('tar', ['-tzf', tarball], root).trim().split('\n').sort();
}

const file = join(`${process.platform}-${process.arch}`, 'vivace-cuda.so');
const write = `
  const { loadModel } = require('vivace');
  const write = async (device) => {
    const model = await loadModel(undefined, { device, threads: 1 });
    let text = '';
    for await (const piece of model.createSession().generate('Once upon', { maxTokens: 4, temperature: 0 })) text += piece.text;
    model.dispose();
    return text;
  };`;

test('without it the error names the package', () => {
  const report = cuda();
  expect(report.usable).toBe(false);
  expect(report.reason).toContain(join('vivace-cuda', file));
  expect(report.remedy).toMatch(/Install the package `vivace-cuda` of the same version/);
});

whenEmulated('beside vivace it is found, and models run with it', () => {
  const files = installLibrary(emulated as string);
  expect(files).toEqual(['LICENSE', 'README.md', file, 'package.json'].map((name) => `package/${name}`));
  expect(cuda()).toMatchObject({
    usable: true,
    name: 'emulated on this processor',
    library: join(app, 'node_modules', 'vivace-cuda', file),
  });
  writeFileSync(
    join(app, 'cuda.cjs'),
    `${write} (async () => console.log(JSON.stringify([await write('cuda'), await write('cpu')])))();`,
  );
  const [onCard, onCpu] = JSON.parse(execute(process.execPath, ['cuda.cjs'], app, env)) as string[];
  expect(onCard.length).toBeGreaterThan(4);
  expect(onCard).toBe(onCpu);
});

test('the library that nvcc built is packed, loads without a toolkit, and says what it misses', () => {
  if (!existsSync(real)) {
    console.log('skipped: there is no build-cuda/vivace-cuda.so (npm run build:cuda)');
    return;
  }
  installLibrary(real);
  const { usable, reason } = cuda();
  if (!usable) expect(reason).toMatch(/NVIDIA|driver|card/);
});
