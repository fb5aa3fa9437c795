// What the house tests read: the project's own files, as git knows them, and the tables written in C++.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

export const root = resolve(__dirname, '..', '..');

/** Paths of all files that are or would be committed, without what tests generate or other projects made. */
export const files: readonly string[] = spawnSync('git', ['ls-files', '-co', '--exclude-standard', '--deduplicate'], {
  cwd: root,
  encoding: 'utf8',
})
  .stdout.split('\n')
  .filter((file) => file !== '' && !file.includes('/fixtures/') && existsSync(join(root, file)));

export const read = (file: string): string => readFileSync(join(root, file), 'utf8');

export const isTypeScript = (file: string): boolean => /\.(ts|mts|mjs|js)$/.test(file);
export const isNative = (file: string): boolean => /\.(cpp|h|cu|cuh)$/.test(file);
export const isSource = (file: string): boolean => isTypeScript(file) || isNative(file);

/** File name without folders and extension. */
export const stem = (file: string): string => file.replace(/^.*\//, '').replace(/(\.test)?\.[a-z]+$/, '');

export interface NativeOp {
  readonly name: string;
  /** Path without extension: cpp/ops/<family>/<name>. */
  readonly place: string;
  readonly attributes: readonly string[];
  readonly inputs: { readonly least: number; readonly most: number };
  readonly outputs: number;
}

/** The rows of cpp/ops/registry.cpp in its order, each read from its op's source. */
export function nativeOps(): NativeOp[] {
  const registry = read('cpp/ops/registry.cpp');
  const table = /table\[\]\s*=\s*\{([^}]*)\}/.exec(registry)?.[1] ?? '';
  return [...table.matchAll(/&(\w+)_op/g)].map(([, name]) => {
    const include = new RegExp(`#include "(ops/\\w+/${name})\\.h"`).exec(registry);
    if (!include) throw new Error(`cpp/ops/registry.cpp does not include the contract of ${name}`);
    return { name, place: `cpp/${include[1]}`, ...opRow(name, read(`cpp/${include[1]}.cpp`)) };
  });
}

function opRow(name: string, source: string): Omit<NativeOp, 'name' | 'place'> {
  const row = new RegExp(`OpInfo ${name}_op = \\{\\s*"(\\w+)",\\s*(\\d+),\\s*(\\d+),\\s*(\\d+),\\s*(\\w+),`).exec(
    source,
  );
  if (!row) throw new Error(`The source of ${name} has no row \`const OpInfo ${name}_op = {"${name}", …\``);
  if (row[1] !== name) throw new Error(`${name}_op is called ${row[1]}`);
  const list =
    row[5] === 'nullptr' ? '' : (new RegExp(`${row[5]}\\[\\]\\s*=\\s*\\{([^}]*)\\}`).exec(source)?.[1] ?? '');
  return {
    attributes: [...list.matchAll(/"(\w+)"/g)].map((match) => match[1]),
    inputs: { least: Number(row[2]), most: Number(row[3]) },
    outputs: Number(row[4]),
  };
}
