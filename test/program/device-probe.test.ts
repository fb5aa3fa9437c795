// Whatever a device's library does when it is asked for its cards, this process goes on and hears what it was.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { listDevices, loadModel, VivaceError } from '../../lib/index.js';
import { probeDevice } from '../../lib/program/device-probe.js';
import type { DeviceProbe } from '../../lib/program/device-probe.js';
import { vivace, vivaceJson } from '../cli/command.js';
import { fakeLibrary, missing } from './fake-library.js';
import type { Fake } from './fake-library.js';

let folder: string;
const before = process.env['VIVACE_CUDA_LIBRARY'];

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'vivace-probe-'));
  if (missing !== undefined) console.log(`skipped: device libraries that misbehave, ${missing}`);
});
afterEach(() => {
  if (before === undefined) delete process.env['VIVACE_CUDA_LIBRARY'];
  else process.env['VIVACE_CUDA_LIBRARY'] = before;
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function use(name: string, fake: Fake): string {
  return (process.env['VIVACE_CUDA_LIBRARY'] = fakeLibrary(folder, name, fake));
}

const card = (unusable = ''): string => `
  *count = 1;
  memset(out, 0, sizeof(*out));
  strcpy(out->name, "Card of tests");
  out->major = 9;
  out->multiprocessors = 132;
  out->memory = (int64_t)80 << 30;
  out->memory_free = (int64_t)79 << 30;
  strcpy(out->unusable, "${unusable}");`;

const refuses = (message: string, remedy: string): string => `
  strcpy(error->code, "DEVICE_UNAVAILABLE");
  strcpy(error->message, "${message}");
  strcpy(error->remedy, "${remedy}");
  return 1;`;

const whenThereIsC = missing === undefined ? test : test.skip;

const bad: [name: string, fake: Fake, message: RegExp, code?: string][] = [
  ['crashes', { devices: 'raise(SIGSEGV);' }, /crashed \(SIGSEGV\) when it was asked for its cards/],
  ['aborts', { devices: 'fputs("driver: bad state\\n", stderr); abort();' }, /\(SIGABRT\).*: driver: bad state/],
  ['ends the process', { devices: '_exit(3);' }, /ended the process \(exit code 3\)/],
  ['has no table', { entry: 'somebody_else' }, /is no device library of vivace: it has no vivace_device_table/],
  ['has another version', { version: '999' }, /has version 999 .*this addon wants version \d+/],
  ['has a table of another size', { size: '16' }, /with a table of 16 bytes; this addon wants version \d+ with \d+/],
  ['has an old driver', { devices: refuses('The driver serves CUDA 11.4', 'Update it.') }, /serves CUDA 11\.4/],
];

whenThereIsC.each(bad)('a library that %s is refused with the reason, by probe and by loadModel', async (...row) => {
  const [name, fake, message] = row;
  const library = use(name.replace(/ /g, '-'), fake);
  const probe = await probeDevice('cuda');
  expect(probe).toMatchObject({ library, devices: [], error: { code: 'DEVICE_UNAVAILABLE' } });
  expect(probe.error?.message).toMatch(message);
  expect(probe.error?.remedy).toMatch(/\S/);
  await expect(loadModel(undefined, { device: 'cuda' })).rejects.toThrow(message);
});

whenThereIsC('a library that hangs is given up after the time limit', async () => {
  use('hangs', { devices: 'for (;;) pause();' });
  const begin = performance.now();
  const { error } = await probeDevice('cuda', 1500);
  expect(error).toBeInstanceOf(VivaceError);
  expect(error).toMatchObject({
    code: 'DEVICE_UNAVAILABLE',
    message: expect.stringContaining('no answer within 1.5 s'),
  });
  expect(performance.now() - begin).toBeLessThan(20_000);
});

whenThereIsC('loading may be aborted while a library hangs', async () => {
  use('hangs-on', { devices: 'for (;;) pause();' });
  const asked = probeDevice('cuda', 4000);
  const controller = new AbortController();
  const loading = loadModel(undefined, { device: 'cuda', signal: controller.signal });
  setTimeout(() => controller.abort(), 100);
  await expect(loading).rejects.toMatchObject({ code: 'ABORTED' });
  expect((await asked).error?.code).toBe('DEVICE_UNAVAILABLE');
});

whenThereIsC('what a library prints is no answer, and it is asked once per process', async () => {
  const log = join(folder, 'asked');
  use('chatty', {
    devices: `
      printf("{\\"devices\\": []}\\n");
      fflush(stdout);
      FILE* log = fopen(${JSON.stringify(log)}, "a");
      fputc('x', log);
      fclose(log);
      ${card()}`,
  });
  const wanted: DeviceProbe = {
    library: process.env['VIVACE_CUDA_LIBRARY'],
    build: 'a fake',
    devices: [
      {
        name: 'Card of tests',
        capability: '9.0',
        multiprocessors: 132,
        memory: 80 * 2 ** 30,
        free: 79 * 2 ** 30,
      },
    ],
  };
  expect(await Promise.all([probeDevice('cuda'), probeDevice('cuda')])).toEqual([wanted, wanted]);
  expect(await probeDevice('cuda')).toEqual(wanted);
  expect(readFileSync(log, 'utf8')).toBe('x');
});

whenThereIsC('a machine without a card, and a card that cannot be used, are said so', async () => {
  use('empty', {});
  await expect(loadModel(undefined, { device: 'cuda' })).rejects.toThrow('this machine has no NVIDIA card');
  expect(await listDevices()).toContainEqual(
    expect.objectContaining({ device: 'cuda', usable: false, reason: expect.stringContaining('no NVIDIA card') }),
  );
  use('old-card', { devices: card('its compute capability is 7.5, 8.0 is needed') });
  await expect(loadModel(undefined, { device: 'cuda' })).rejects.toThrow(
    'Card of tests cannot be used: its compute capability is 7.5, 8.0 is needed',
  );
});

test('a file that is no library, and none at all', async () => {
  const text = join(folder, 'text.so');
  writeFileSync(text, 'no library');
  process.env['VIVACE_CUDA_LIBRARY'] = text;
  expect((await probeDevice('cuda')).error).toMatchObject({
    code: 'DEVICE_UNAVAILABLE',
    message: expect.stringMatching(/text\.so cannot be opened/),
  });
  process.env['VIVACE_CUDA_LIBRARY'] = join(folder, 'nothing.so');
  const { library, error } = await probeDevice('cuda');
  expect(library).toBeUndefined();
  expect(error?.message).toContain(`No library for the device 'cuda'; looked for ${join(folder, 'nothing.so')}`);
});

describe('vivace inspect --devices', () => {
  test('shows the CPU with levels, threads and memory', async () => {
    const { devices } = await vivaceJson<{ devices: Record<string, unknown>[] }>(['inspect', '--devices']);
    expect(devices[0]).toMatchObject({ device: 'cpu', usable: true, name: expect.stringMatching(/\S/) });
    expect((devices[0]['levels'] as string[])[0]).toBe('baseline');
    for (const key of ['threads', 'memory', 'freeMemory']) expect(devices[0][key]).toBeGreaterThan(0);
    expect(devices.map(({ device }) => device)).toContain('cuda');
  });

  whenThereIsC('shows a card that works and one that crashes its driver', async () => {
    const environment = (path: string) => ({ VIVACE_CUDA_LIBRARY: path });
    const good = fakeLibrary(folder, 'good', { devices: card() });
    const works = await vivace(['inspect', '--devices'], '', environment(good));
    expect(works.code).toBe(0);
    expect(works.stdout).toMatch(/^cuda: usable, Card of tests$/m);
    expect(works.stdout).toMatch(/^ {2}compute capability +9\.0$/m);
    expect(works.stdout).toMatch(/^ {2}memory +80\.0 GiB, 79\.0 GiB free$/m);
    expect(works.stdout).toContain(good);
    const worse = fakeLibrary(folder, 'worse', { devices: 'abort();' });
    const broken = await vivace(['inspect', '--devices'], '', environment(worse));
    expect(broken.code).toBe(0);
    expect(broken.stdout).toMatch(/^cpu: usable/m);
    expect(broken.stdout).toMatch(/^cuda: not usable\n {2}The device library .* crashed \(SIGABRT\).*nvidia-smi/m);
  });
});
