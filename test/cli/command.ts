// Runs the real command in a process of its own, as a user would.
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';

export const root = resolve(__dirname, '..', '..');
export const embedded = join(root, 'models', 'vivace-tiny.gguf');

export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

let checked = false;

/** The launcher runs what is in dist/; tests of something older than lib/ would prove nothing. */
function checkFresh(): void {
  if (checked) return;
  const stale = (readdirSync(join(root, 'lib'), { recursive: true }) as string[]).filter((name) => {
    if (!name.endsWith('.ts')) return false;
    const built = join(root, 'dist', name.replace(/\.ts$/, '.js'));
    return !existsSync(built) || statSync(built).mtimeMs < statSync(join(root, 'lib', name)).mtimeMs;
  });
  if (stale.length > 0) throw new Error(`dist/ is older than lib/${stale[0]}: run \`npm run build:ts\``);
  checked = true;
}

/** `vivace …` with text on standard input; nothing is a terminal. */
export function vivace(args: readonly string[], input = '', env: NodeJS.ProcessEnv = {}): Promise<Finished> {
  checkFresh();
  const child = spawn(process.execPath, [join(root, 'bin', 'vivace.js'), ...args], {
    cwd: root,
    env: { ...process.env, ...env },
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  child.stdin.on('error', () => undefined); // a command that does not read its input may end before it is written
  child.stdin.end(input);
  return new Promise((done, failed) => {
    child.on('error', failed);
    child.on('close', (code) => done({ code, stdout, stderr }));
  });
}

/** The one object that a command with --json prints. */
export async function vivaceJson<T>(args: readonly string[], input = ''): Promise<T> {
  const { code, stdout, stderr } = await vivace([...args, '--json'], input);
  if (code !== 0) throw new Error(`vivace ${args.join(' ')} exited with ${code}: ${stderr}`);
  expect(stdout.trim().split('\n')).toHaveLength(1);
  return JSON.parse(stdout) as T;
}
