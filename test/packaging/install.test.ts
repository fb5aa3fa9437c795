// The packed package installs into an empty folder without scripts or compiler, and writes text for require and import.
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execute, install, manifest, pack, root } from './tarball.js';
import type { Tarball } from './tarball.js';

let folder: string;
let tarball: Tarball;
let app: string;
let env: NodeJS.ProcessEnv;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'vivace-package-'));
  tarball = pack(folder);
  ({ app, env } = install(tarball, folder));
  const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  process.stderr.write(
    `vivace-${manifest.version}.tgz: ${mebibytes(tarball.size)} packed, ${mebibytes(tarball.unpackedSize)} unpacked\n`,
  );
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Every path below a conditional export. */
function targets(value: unknown): string[] {
  return typeof value === 'string' ? [value] : Object.values(value as Record<string, unknown>).flatMap(targets);
}

test('everything that package.json points at is in the tarball', () => {
  const named = [manifest.main, manifest.types, ...Object.values(manifest.bin), ...targets(manifest.exports)];
  const missing = named.map((path) => path.replace(/^\.\//, '')).filter((path) => !tarball.files.includes(path));
  expect(missing).toEqual([]);
  expect(tarball.files).toEqual(expect.arrayContaining(['README.md', 'LICENSE', 'models/vivace-tiny.gguf']));
});

test('every condition of an export names its types first', () => {
  const entry = manifest.exports['.'] as Record<string, Record<string, string>>;
  for (const condition of ['import', 'require']) expect(Object.keys(entry[condition])).toEqual(['types', 'default']);
});

test('nothing is in the tarball that a user does not need', () => {
  const kinds =
    /^(package\.json|README\.md|LICENSE|bin\/|dist\/|models\/.*\.(gguf|safetensors)$|models\/vivace-tiny-\w+\/|prebuilds\/[a-z0-9]+-[a-z0-9]+\/.*\.node$)/;
  expect(tarball.files.filter((path) => !kinds.test(path))).toEqual([]);
  expect(tarball.size).toBeLessThan(15 * 2 ** 20);
});

test('the package has no install scripts, and npm does not build it', () => {
  expect(Object.keys(manifest.scripts).filter((name) => /^(pre|post)?install$/.test(name))).toEqual([]);
  expect(manifest.gypfile).toBe(false);
  expect(tarball.files).not.toContain('binding.gyp');
});

test('only the run-time dependencies are installed', () => {
  const installed = readdirSync(join(app, 'node_modules')).filter((name) => !name.startsWith('.'));
  expect(installed).toEqual(expect.arrayContaining(['vivace', 'commander']));
  expect(installed).not.toContain('node-addon-api');
});

const generate = `
  const model = await loadModel();
  const session = model.createSession();
  const pieces = [];
  for await (const { text } of session.generate('Once upon a time', { maxTokens: 16, temperature: 0 })) pieces.push(text);
  model.dispose();
  return pieces.join('');
`;

test('require and import give the same text and the same classes', () => {
  writeFileSync(
    join(app, 'both.cjs'),
    `const required = require('vivace');
     const text = async ({ loadModel }) => { ${generate} };
     (async () => {
       const imported = await import('vivace');
       const names = Object.keys(required).filter((name) => name !== '__esModule');
       const same = names.filter((name) => imported[name] === required[name]);
       console.log(JSON.stringify({ names, same, texts: [await text(required), await text(imported)] }));
     })();`,
  );
  const result = JSON.parse(execute(process.execPath, ['both.cjs'], app, env)) as {
    names: string[];
    same: string[];
    texts: string[];
  };
  expect(result.names).toEqual(expect.arrayContaining(['loadModel', 'VivaceError']));
  expect(result.same).toEqual(result.names);
  expect(result.texts[0].length).toBeGreaterThan(10);
  expect(result.texts[1]).toBe(result.texts[0]);
});

test('a pure ES module generates text', () => {
  writeFileSync(
    join(app, 'pure.mjs'),
    `import { loadModel } from 'vivace';
     console.log(JSON.stringify(await (async () => { ${generate} })()));`,
  );
  expect((JSON.parse(execute(process.execPath, ['pure.mjs'], app, env)) as string).length).toBeGreaterThan(10);
});

test('the command is installed', () => {
  const command = join(app, 'node_modules', 'vivace', manifest.bin['vivace']);
  const output = execute(process.execPath, [command, 'run', 'Hello', '-n', '4', '--json'], app, env);
  expect(JSON.parse(output)).toMatchObject({ finishReason: 'length' });
});

test('types resolve for both kinds of importing files', () => {
  const options = {
    module: 'node20',
    strict: true,
    noEmit: true,
    skipLibCheck: false,
    target: 'es2022',
    types: ['node'],
  };
  const typeRoots = [join(root, 'node_modules', '@types')];
  const compilerOptions = { ...options, lib: ['es2023', 'esnext.disposable'], typeRoots };
  writeFileSync(join(app, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['user.cts', 'user.mts'] }));
  const user = `import { loadModel, VivaceError, type Model } from 'vivace';
    export const load: (path?: string) => Promise<Model> = loadModel;
    export const isOurs = (error: unknown): boolean => error instanceof VivaceError && error.code === 'FILE_NOT_FOUND';`;
  for (const name of ['user.cts', 'user.mts']) writeFileSync(join(app, name), user);
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  expect(execute(process.execPath, [tsc, '-p', app, '--pretty', 'false'], app)).toBe('');
});
