// The packed package installs into an empty folder without scripts or compiler, and writes text for require and import.
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execute, install, manifest, pack } from './tarball.js';
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
    /^(package\.json|README\.md|LICENSE|bin\/|dist\/|models\/.*\.gguf$|prebuilds\/[a-z0-9]+-[a-z0-9]+\/.*\.node$)/;
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
