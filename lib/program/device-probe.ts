// Asks a device's library what it finds, in a process of its own: a driver that hangs or crashes ends that one alone.
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { VivaceError } from '../errors.js';
import { addonPath, fromNative } from '../native.js';
import type { NativeDeviceInfo } from '../native.js';
import { findDevice } from './device-library.js';
import type { DeviceName } from './device-library.js';

export interface DeviceProbe {
  /** Absent when there is none. */
  readonly library?: string;
  /** What the library was built with and for. */
  readonly build?: string;
  readonly devices: readonly NativeDeviceInfo[];
  /** Why the library cannot be used at all: DEVICE_UNAVAILABLE or NATIVE_LOAD_FAILED. */
  readonly error?: VivaceError;
}

/** A machine with many cards and a driver that sleeps takes some seconds. */
const LIMIT_MS = 30_000;

// The answer is a line of its own behind a mark that nobody knows beforehand, whatever else a driver prints.
const script = `
  const [addon, library, mark] = process.argv.slice(1);
  let answer;
  try {
    answer = require(addon).devices(library);
  } catch ({ code, message, remedy }) {
    answer = { error: { code, message, remedy } };
  }
  require('node:fs').writeSync(1, '\\n' + mark + JSON.stringify(answer) + '\\n');`;

type Answer =
  { build: string; devices: NativeDeviceInfo[] } | { error: { code: string; message: string; remedy?: string } };

const asked = new Map<string, Promise<DeviceProbe>>();

/** What there is for a device. Asked once per process and library; never rejects. */
export function probeDevice(name: DeviceName, limitMs = LIMIT_MS): Promise<DeviceProbe> {
  let library: string;
  let addon: string;
  try {
    ({ library } = findDevice(name));
    addon = addonPath();
  } catch (error) {
    return Promise.resolve({ devices: [], error: error as VivaceError });
  }
  let answer = asked.get(library);
  if (answer === undefined) {
    answer = ask(addon, library, limitMs).then(
      (found) => ({ library, ...found }),
      (error: unknown) => ({ library, devices: [], error: error as VivaceError }),
    );
    asked.set(library, answer);
  }
  return answer;
}

/** The same, but throws what makes the library useless; gives up waiting when the signal says so. */
export async function requireProbed(name: DeviceName, signal?: AbortSignal): Promise<void> {
  const probe = probeDevice(name);
  const aborted = new Promise<never>((_, reject) => {
    const give = (): void => reject(new VivaceError('ABORTED', 'Loading was aborted', { cause: signal?.reason }));
    if (signal?.aborted) give();
    signal?.addEventListener('abort', give, { once: true });
  });
  const { error } = await Promise.race([probe, aborted]);
  if (error !== undefined) throw error;
}

async function ask(addon: string, library: string, limitMs: number): Promise<Omit<DeviceProbe, 'library'>> {
  const answer = await answerOf(addon, library, limitMs);
  if ('error' in answer) throw fromNative(Object.assign(new Error(answer.error.message), answer.error));
  return answer;
}

function answerOf(addon: string, library: string, limitMs: number): Promise<Answer> {
  // A program that is its own Node.js would run itself again, and again.
  if (process.env['VIVACE_PROBING'])
    throw unusable(library, 'is being tried already by the process that began this one');
  // Options of this process, as a debugger's port, are not for the other one; Electron becomes Node.js by its variable.
  const env = { ...process.env, NODE_OPTIONS: '', ELECTRON_RUN_AS_NODE: '1', VIVACE_PROBING: '1' };
  const mark = randomUUID();
  const child = spawn(process.execPath, ['-e', script, addon, library, mark], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
    windowsHide: true,
  });
  let printed = '';
  let complaints = '';
  return new Promise<Answer>((resolve, reject) => {
    const timer = setTimeout(
      () => reject(unusable(library, `gave no answer within ${limitMs / 1000} s when it was asked for its cards`)),
      limitMs,
    );
    child.stderr.setEncoding('utf8').on('data', (text: string) => (complaints = (complaints + text).slice(-1000)));
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      printed += text;
      const line = new RegExp(`^${mark}(.*)\\n`, 'm').exec(printed);
      if (line) resolve(JSON.parse(line[1]) as Answer);
    });
    child.on('error', (cause) => reject(unusable(library, `cannot be tried: ${cause.message}`, cause)));
    child.on('close', (code, signal) => {
      const how = signal === null ? `ended the process (exit code ${code})` : `crashed (${signal})`;
      const last = complaints.trim().split('\n').at(-1);
      reject(unusable(library, `${how} when it was asked for its cards${last ? `: ${last}` : ''}`));
    });
    child.on('close', () => clearTimeout(timer));
  }).finally(() => {
    // One that waits for a driver inside the kernel does not even end when it is killed; nobody waits for it.
    child.kill('SIGKILL');
    child.stdout.destroy();
    child.stderr.destroy();
    child.unref();
  });
}

const unusable = (library: string, what: string, cause?: unknown): VivaceError =>
  new VivaceError('DEVICE_UNAVAILABLE', `The device library ${library} ${what}`, {
    cause,
    remedy: "Check the driver (`nvidia-smi` must work), or use device: 'cpu'.",
  });
