// Saved sessions: damaged, cut, foreign and future files are refused by name, and nothing half-made stays behind.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadModel, type Model } from '../../lib/index.js';
import { Generator } from '../fixtures/random/generator.js';
import { randomModels, writeRandomGguf } from '../fixtures/random-model.js';
import { testDevices } from '../ops/executors.js';

describe.each(testDevices())('on %s', (device) => {
  let model: Model;
  let directory: string;
  let saved: Buffer;
  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'vivace-saved-'));
    model = await loadModel('default', { threads: 1, device });
    using session = model.createSession();
    await session.forward(model.tokenizer.encode('The boat sails over the sea.'));
    await session.save(join(directory, 'good'));
    saved = readFileSync(join(directory, 'good'));
  });
  afterAll(() => {
    model.dispose();
    rmSync(directory, { recursive: true });
  });

  async function restore(
    bytes: Uint8Array,
    into: Model = model,
  ): Promise<{ code: string; message: string; remedy?: string }> {
    const file = join(directory, 'damaged');
    writeFileSync(file, bytes);
    const used = into.memoryUsage().kv;
    try {
      (await into.restoreSession(file)).dispose();
    } catch (error) {
      expect(into.memoryUsage().kv).toBe(used);
      return error as { code: string; message: string };
    }
    return { code: 'none', message: '' };
  }

  test('a whole file is restored', async () => {
    expect((await restore(saved)).code).toBe('none');
  });

  test('a file that ends early is FORMAT_TRUNCATED, wherever it ends', async () => {
    const random = new Generator(1, 'cut');
    for (const length of [
      0,
      5,
      15,
      20,
      saved.length - 1,
      ...Array.from({ length: 20 }, () => random.integer(0, saved.length - 1)),
    ]) {
      expect({ length, code: (await restore(saved.subarray(0, length))).code }).toEqual({
        length,
        code: 'FORMAT_TRUNCATED',
      });
    }
  });

  test('no flipped bit goes unnoticed', async () => {
    const random = new Generator(2, 'flip');
    for (let round = 0; round < 60; round++) {
      const bytes = Uint8Array.from(saved);
      const at = round < 30 ? round : random.integer(0, saved.length - 1);
      bytes[at] ^= 1 << random.integer(0, 7);
      expect((await restore(bytes)).code).toMatch(
        /^(FORMAT_[A-Z]+|INVALID_ARGUMENT|CONTEXT_FULL|UNSUPPORTED_FEATURE)$/,
      );
    }
  });

  test('other files, other versions and longer files are named', async () => {
    expect(await restore(Buffer.from('GGUF and more than sixteen bytes'))).toMatchObject({ code: 'FORMAT_UNKNOWN' });
    const future = Uint8Array.from(saved);
    future[8] = 3;
    expect(await restore(future)).toMatchObject({
      code: 'FORMAT_INVALID',
      message: expect.stringContaining('version 3'),
    });
    expect(await restore(Buffer.concat([saved, saved]))).toMatchObject({ code: 'FORMAT_INVALID' });
    await expect(model.restoreSession(join(directory, 'nothing'))).rejects.toMatchObject({ code: 'FILE_NOT_FOUND' });
    await expect(model.restoreSession(directory)).rejects.toMatchObject({ code: 'FILE_UNREADABLE' });
  });

  test('a header that claims more than the file has allocates nothing', async () => {
    const headerLength = saved.readUInt32LE(12);
    const header = JSON.parse(saved.subarray(16, 16 + headerLength).toString()) as Record<string, number>;
    const json = Buffer.from(JSON.stringify({ ...header, tokens: 2 ** 38, cells: 2 ** 38, contextLength: 2 ** 38 }));
    const forged = Buffer.concat([saved.subarray(0, 16), json, saved.subarray(16 + headerLength)]);
    forged.writeUInt32LE(json.length, 12);
    expect(await restore(forged)).toMatchObject({ code: 'FORMAT_TRUNCATED' });
  });

  test('a session belongs to the weights that made it', async () => {
    const [random] = randomModels;
    const paths = [1, 2].map((seed) => {
      const path = join(directory, `random-${seed}.gguf`);
      writeRandomGguf(path, { ...random, seed }, 'F16');
      return path;
    });
    using first = await loadModel(paths[0], { threads: 1, device });
    using second = await loadModel(paths[1], { threads: 1, device });
    using session = first.createSession();
    await session.forward([1, 2, 3]);
    const file = join(directory, 'of-first');
    await session.save(file);
    expect(await restore(readFileSync(file), second)).toMatchObject({
      code: 'INVALID_ARGUMENT',
      remedy: expect.stringContaining('model file'),
    });
    expect((await restore(readFileSync(file), first)).code).toBe('none');
    using short = await loadModel(paths[0], { threads: 1, contextLength: 2, device });
    expect(await restore(readFileSync(file), short)).toMatchObject({ code: 'CONTEXT_FULL' });
  });

  test('a file that cannot be written leaves nothing behind', async () => {
    using session = model.createSession();
    await session.forward([1, 2, 3]);
    await expect(session.save(join(directory, 'no', 'such', 'place'))).rejects.toMatchObject({
      code: 'FILE_NOT_FOUND',
    });
    await expect(session.save(directory)).rejects.toMatchObject({ code: 'FILE_UNREADABLE' });
    expect(readdirSync(directory).filter((name) => name.endsWith('.part'))).toEqual([]);
  });
});
