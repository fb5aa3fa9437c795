// Packs the package as the release does, out of a copy of what it ships, so that the checkout stays as it is.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';

export const root = resolve(__dirname, '..', '..');

export interface Manifest {
  readonly version: string;
  readonly main: string;
  readonly types: string;
  readonly exports: Readonly<Record<string, unknown>>;
  readonly bin: Readonly<Record<string, string>>;
  readonly files: readonly string[];
  readonly scripts: Readonly<Record<string, string>>;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly gypfile: boolean;
}

export const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Manifest;

export interface Tarball {
  readonly path: string;
  readonly size: number;
  readonly unpackedSize: number;
  readonly files: readonly string[];
}

/** npm of the running Node.js, whatever PATH says. */
export function npm(args: readonly string[], cwd: string, env: NodeJS.ProcessEnv = process.env): string {
  const beside = join(dirname(process.execPath), '..', 'lib', 'node_modules', 'npm', 'bin', 'npm-cli.js');
  const windows = join(dirname(process.execPath), 'node_modules', 'npm', 'bin', 'npm-cli.js');
  const cli = [process.env['npm_execpath'] ?? '', beside, windows].find(
    (path) => /npm-cli\.js$/.test(path) && existsSync(path),
  );
  if (cli === undefined) throw new Error('npm was not found beside Node.js');
  return execute(process.execPath, [cli, ...args], cwd, env);
}

/** Standard output of a command that must succeed. */
export function execute(
  program: string,
  args: readonly string[],
  cwd: string,
  env: NodeJS.ProcessEnv = process.env,
): string {
  const { status, error, stdout, stderr } = spawnSync(program, args, {
    cwd,
    env,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  if (error) throw error;
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} exited with ${status}\n${stdout}\n${stderr}`);
  return stdout;
}

/** The tarball, made in `folder`; prebuilt addons come from prebuilds/ where a release put them, else from build/. */
export function pack(folder: string): Tarball {
  const stage = join(folder, 'stage');
  mkdirSync(stage);
  for (const name of ['package.json', ...new Set(manifest.files.map((file) => file.split('/')[0]))]) {
    if (existsSync(join(root, name)) && name !== 'prebuilds')
      cpSync(join(root, name), join(stage, name), { recursive: true });
  }
  if (process.env['PREBUILDS_ONLY'] || !existsSync(join(root, 'build', 'Release'))) {
    cpSync(join(root, 'prebuilds'), join(stage, 'prebuilds'), { recursive: true });
  } else {
    execute(process.execPath, [join(root, 'scripts', 'prebuild.mjs'), '--reuse', '--out', stage], root);
  }
  const [result] = JSON.parse(npm(['pack', '--ignore-scripts', '--json'], stage)) as {
    filename: string;
    size: number;
    unpackedSize: number;
    files: { path: string }[];
  }[];
  return {
    path: join(stage, result.filename),
    size: result.size,
    unpackedSize: result.unpackedSize,
    files: result.files.map(({ path }) => path),
  };
}

/** An empty project with the tarball installed: no install scripts, and no compiler that a script could reach. */
export function install(tarball: Tarball, folder: string): { app: string; env: NodeJS.ProcessEnv } {
  const app = join(folder, 'app');
  const empty = join(folder, 'empty');
  mkdirSync(app);
  mkdirSync(empty);
  writeFileSync(join(app, 'package.json'), '{"private": true}\n');
  const env: NodeJS.ProcessEnv = { ...process.env, PATH: empty, NODE_PATH: '' };
  for (const name of ['PREBUILDS_ONLY', 'VIVACE_ADDON', 'NODE_OPTIONS']) delete env[name];
  npm(['install', tarball.path, '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund'], app, env);
  return { app, env };
}
