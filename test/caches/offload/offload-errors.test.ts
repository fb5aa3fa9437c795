// What can go wrong with a file of keys and values: it has a name, ends the answer and nothing else, and leaves nothing behind.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { doubleSparsity, loadModel } from '../../../lib/index.js';
import type { CacheOptions, Model, OffloadOptions } from '../../../lib/index.js';
import { scratch } from '../../formats/scratch.js';
import { channels, writeModel } from '../policies/setting.js';

const { at } = scratch();
const linux = process.platform === 'linux' ? test : test.skip;
let model: Model;
let folder: string;
beforeAll(async () => {
  writeModel(at('model.gguf'));
  model = await loadModel(at('model.gguf'), { threads: 2, prefixCache: false });
  mkdirSync((folder = at('folder')));
});
afterAll(() => model.dispose());

const few = (offload: OffloadOptions | string, more: object = {}): CacheOptions =>
  doubleSparsity({
    ...{ channels, heavyChannels: 8, tokens: 16, sparsity: 0, sparseThreshold: 0, denseLayers: [0], pageSize: 8 },
    offload,
    ...more,
  });
const text = Array.from({ length: 200 }, (_, i) => 261 + ((i * 17) % 90));

/** Descriptors of the files without a name that this process has in the folder. */
const files = (): string[] =>
  readdirSync('/proc/self/fd')
    .map((name) => join('/proc/self/fd', name))
    .filter((path) => {
      try {
        return readlinkSync(path).startsWith(folder);
      } catch {
        return false;
      }
    });

linux('a file that somebody has cut ends the answer; new texts go on', async () => {
  const cache = few({ memory: '256KiB', path: folder });
  using session = model.createSession({ cache });
  await session.forward(text);
  using other = model.createSession({ cache });
  await other.forward(text); // so that the first one's pages are not all in memory
  expect(readdirSync(folder)).toEqual([]);
  const [file] = files();
  truncateSync(file, 0);
  const before = session.length;
  await expect(session.forward([300])).rejects.toMatchObject({ code: 'FORMAT_TRUNCATED' });
  expect(session.length).toBe(before);
  for (const one of [session, other]) one.dispose();
  using again = model.createSession({ cache });
  using plain = model.createSession({ cache: few('64MiB') });
  const [found, wanted] = [await again.forward(text), await plain.forward(text)];
  expect(found).toEqual(wanted);
});

linux('a disk that is full', () => {
  const script = at('full.cjs');
  const { policy, ...storage } = few({ memory: '256KiB', path: folder });
  writeFileSync(
    script,
    `const { loadModel } = require(${JSON.stringify(join(__dirname, '../../../dist/index.js'))});
     (async () => {
       const model = await loadModel(${JSON.stringify(at('model.gguf'))}, { threads: 1, prefixCache: false });
       const cache = ${JSON.stringify({ ...storage, policy })};
       const session = model.createSession({ cache });
       const other = model.createSession({ cache });
       const errors = [];
       for (const [one, part] of [[session, 200], [other, 200], [session, 1], [other, 1], [session, 1]]) {
         try {
           await one.forward(Array.from({ length: part }, (_, i) => 261 + ((i * 17) % 90)));
         } catch (error) {
           errors.push(error.code, String(error.message), String(error.remedy), one.length);
         }
       }
       session.dispose();
       other.dispose();
       console.log(JSON.stringify({ errors, kv: model.memoryUsage().kv }));
       model.dispose();
     })();`,
  );
  // The limit is of files that are written, in blocks of 1024 bytes; its signal is ignored, so that writes fail.
  const said = execFileSync('bash', ['-c', `trap '' XFSZ; ulimit -f 40; exec ${process.execPath} ${script}`], {
    encoding: 'utf8',
  });
  const { errors, kv } = JSON.parse(said) as { errors: (string | number)[]; kv: number };
  expect(errors[0]).toBe('FILE_UNREADABLE');
  expect(errors[1]).toMatch(/Cannot write a temporary file in .*folder/);
  expect(errors[2]).toMatch(/enough room/);
  expect(kv).toBe(0);
  expect(readdirSync(folder)).toEqual([]);
});

test('a folder that is not there', () => {
  expect(() => model.createSession({ cache: few({ memory: '1MiB', path: at('nowhere') }) })).toThrow(
    expect.objectContaining({ code: 'FILE_NOT_FOUND' }) as Error,
  );
});

test('a text that is longer than the memory holds of a layer', async () => {
  const cache = few('128KiB'); // 32 pages of 8 tokens
  using session = model.createSession({ cache });
  await session.forward(text);
  using other = model.createSession({ cache });
  await expect(other.forward(text)).rejects.toMatchObject({
    code: 'OUT_OF_MEMORY',
    remedy: expect.stringMatching(/offloaded layers more memory/) as string,
  });
  session.dispose();
  expect((await other.forward(text)).some(Number.isNaN)).toBe(false);
});

test.each([
  [{ memory: 0 }, /offload.memory/],
  [{ memory: '12 parsecs' }, /offload.memory/],
  [{ memory: '1MiB', path: '' }, /a path/],
  [{ memory: '1MiB', bytesPerSecond: -1 }, /offload.bytesPerSecond/],
  [{ memory: '1MiB', memry: 1 }, /Unknown option `memry`/],
  [true, /offload.memory/],
])('%j is refused', (offload, message) => {
  expect(() => few(offload as never)).toThrow(message);
});

test('too little memory, or nothing to offload', () => {
  expect(() => model.createSession({ cache: few('1KiB') })).toThrow(/at least \d+ bytes of memory/);
  expect(() => model.createSession({ cache: few('1MiB', { denseLayers: [0, 1, 2] }) })).toThrow(/not dense/);
});
