// Life in a process: the event loop stays free, memory comes back, models and threads live side by side.
import { writeFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Worker } from 'node:worker_threads';
import {
  embeddedModelPath,
  loadModel,
  quantizeModel,
  VivaceError,
  type LoadOptions,
  type Model,
} from '../../lib/index.js';
import type { Device } from '../../lib/model/load.js';
import { cardName, testDevices } from '../ops/executors.js';
import { readSources } from './worker-sources.js';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

let model: Model;
beforeAll(async () => {
  model = await loadModel('default', { threads: 1, prefixCache: false });
});
afterAll(() => model.dispose());
const devices = testDevices();

const disposed = expect.objectContaining({ code: 'DISPOSED' });
const long = (length: number): Int32Array => Int32Array.from({ length }, (_, i) => 10 + ((i * 37) % 900));

/** The model of the other tests, or one of its own. */
const modelOn = async (device: Device): Promise<Model> =>
  device === 'cpu' ? model : loadModel('default', { threads: 1, prefixCache: false, device });

test.each(devices)('the event loop keeps its beat while a long prompt is read, on %s', async (device) => {
  const one = await modelOn(device);
  const [rounds, rows] = device === 'cpu' ? [4, 900] : [1, 60];
  using session = one.createSession();
  const beats: number[] = [];
  let last = performance.now();
  const timer = setInterval(() => {
    beats.push(performance.now() - last);
    last = performance.now();
  }, 5);
  const begin = performance.now();
  for (let round = 0; round < rounds; round++) {
    await session.forward(long(rows)).then(() => session.rollback(rows));
  }
  const took = performance.now() - begin;
  clearInterval(timer);
  // On a loaded machine single beats come late; were the work on this thread, one beat would last for a whole prompt.
  const median = beats.sort((a, b) => a - b)[Math.floor(beats.length / 2)];
  expect(beats.length).toBeGreaterThan(took / 60);
  expect(median).toBeLessThan(30);
  if (one !== model) one.dispose();
});

test('weights are rewritten once, or read where they lie: the same tokens either way', async () => {
  const stages: number[] = [];
  const folder = mkdtempSync(join(tmpdir(), 'vivace-life-'));
  const path = join(folder, 'q8.gguf');
  await quantizeModel(embeddedModelPath(), path, { type: 'Q8_0' });
  using rewritten = await loadModel(path, {
    threads: 2,
    repack: 'load',
    onProgress: (fraction) => stages.push(fraction),
  });
  using behind = await loadModel(path, { threads: 2 });
  using shared = await loadModel(path, { threads: 2, repack: 'never' });
  expect(stages).toEqual([...stages].sort((a, b) => a - b));
  expect(stages.at(-1)).toBe(1);
  const [memory, there] = [rewritten.memoryUsage(), shared.memoryUsage()];
  expect(there.weights).toBeLessThan(there.mapped / 100);
  expect(memory.weights + memory.mapped).toBeLessThan(1.05 * (there.weights + there.mapped));
  expect(memory.mapped).toBeLessThan(there.mapped / 2);
  const texts = await Promise.all(
    [rewritten, shared, behind].map(async (one) => {
      using session = one.createSession();
      const tokens: number[] = [];
      for await (const piece of session.generate(long(100), { maxTokens: 40, temperature: 0 }))
        tokens.push(...piece.tokens);
      return tokens;
    }),
  );
  expect(texts[0].length).toBeGreaterThan(0);
  expect(texts[1]).toEqual(texts[0]);
  expect(texts[2]).toEqual(texts[0]);
  for (let turn = 0; behind.memoryUsage().mapped > memory.mapped; ++turn) {
    expect(turn).toBeLessThan(1000);
    await new Promise((next) => setTimeout(next, 10));
  }
  rmSync(folder, { recursive: true });
  await expect(loadModel('default', { repack: 'later' as unknown as 'load' })).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
  });
});

test('an abort while weights are rewritten ends loading', async () => {
  const controller = new AbortController();
  const onProgress = (fraction: number, stage: string): void => {
    if (stage === 'weights' && fraction >= 0.6) controller.abort();
  };
  await expect(loadModel('default', { repack: 'load', onProgress, signal: controller.signal })).rejects.toMatchObject({
    code: 'ABORTED',
  });
});

test.each(devices)('an abort ends a long prompt within one round, on %s', async (device) => {
  const one = await modelOn(device);
  const rows = device === 'cpu' ? 1000 : 64;
  using session = one.createSession();
  const whole = performance.now();
  await session.forward(long(rows));
  const took = performance.now() - whole;
  session.rollback(rows);
  const controller = new AbortController();
  const iterator = session.generate(long(rows), { signal: controller.signal });
  const next = iterator.next();
  await new Promise((resolve) => setTimeout(resolve, took / 10));
  const begin = performance.now();
  controller.abort();
  const { value, done } = await next;
  expect(done).toBe(true);
  expect(value).toMatchObject({ finishReason: 'abort' });
  expect(session.length).toBe(0);
  expect(performance.now() - begin).toBeLessThan(took); // a round is half of it
  if (one !== model) one.dispose();
});

test('dispose gives the memory of sessions back, and using it again and again takes no more', async () => {
  const cache = { keyType: 'f32', valueType: 'f32' } as const; // 4 KiB a token
  const rss: number[] = [];
  for (let round = 0; round < 5; round++) {
    const sessions = Array.from({ length: 4 }, () => model.createSession({ cache }));
    for (const session of sessions) {
      for await (const _ of session.generate(long(1000), { maxTokens: 1 }));
    }
    expect(model.memoryUsage().kv).toBeGreaterThanOrEqual(4 * 1000 * 4096);
    collectGarbage();
    const held = process.memoryUsage.rss() / 2 ** 20;
    for (const session of sessions) session.dispose();
    expect(model.memoryUsage().kv).toBe(0);
    // At once, before any garbage is collected: 16 MiB less the 4 MiB of pages that are kept for reuse.
    expect(held - process.memoryUsage.rss() / 2 ** 20).toBeGreaterThan(8);
    collectGarbage();
    rss.push(process.memoryUsage.rss() / 2 ** 20);
  }
  expect(rss[4] - rss[1]).toBeLessThan(24); // a leak would be 16 MiB a round
});

test.each(devices)('a disposed model refuses everything, ends its generations, on %s', async (device) => {
  const other = await loadModel('default', { threads: 1, device });
  const session = other.createSession();
  const chat = other.createChat();
  const speaking = session.generate('The sea', { maxTokens: 500, logitBias: {} });
  await speaking.next();
  other.dispose();
  other.dispose();
  await other[Symbol.asyncDispose]();
  await expect(
    (async () => {
      for await (const _ of speaking);
    })(),
  ).rejects.toEqual(disposed);
  for (const call of [
    () => other.createSession(),
    () => other.createChat(),
    () => other.estimateMemory(),
    () => other.memoryUsage(),
    () => session.generate('x'),
    () => chat.send('x'),
  ]) {
    expect(call).toThrow(disposed);
  }
  await expect(other.restoreSession('x')).rejects.toEqual(disposed);
  expect(other.info.vocabSize).toBe(model.info.vocabSize); // figures stay
});

test.each(devices)('two models side by side do not disturb each other, on %s', async (device) => {
  const first = await modelOn(device);
  await using other = await loadModel(embeddedModelPath(), { threads: 1, contextLength: 128, device });
  expect(other.info.contextLength).toBe(128);
  const say = async (one: Model): Promise<string> => {
    using session = one.createSession();
    let text = '';
    for await (const piece of session.generate('Once upon a time', {
      temperature: 0,
      maxTokens: device === 'cpu' ? 20 : 4,
    }))
      text += piece.text;
    return text;
  };
  const alone = await say(first);
  expect(await Promise.all([say(first), say(other), say(first), say(other)])).toEqual([alone, alone, alone, alone]);
  if (first !== model) first.dispose();
});

test.each(devices)('worker threads load a model and generate, and end cleanly, on %s', async (device) => {
  const directory = mkdtempSync(join(tmpdir(), 'vivace-worker-'));
  const script = join(directory, 'worker.cjs');
  writeFileSync(
    script,
    `${readSources}
     const { parentPort, workerData } = require('node:worker_threads');
     (async () => {
       const model = await loadModel('default', { threads: 1, device: workerData.device });
       const session = model.createSession();
       let text = '';
       for await (const piece of session.generate('Once upon a time', workerData.options)) text += piece.text;
       model.dispose();
       parentPort.postMessage(text);
     })();`,
  );
  const options = { temperature: 0, maxTokens: device === 'cpu' ? 20 : 4 };
  const one = await modelOn(device);
  const run = (): Promise<string> =>
    new Promise((resolve, reject) => {
      let text = '';
      const worker = new Worker(script, { workerData: { device, options } });
      worker.on('message', (message: string) => (text = message));
      worker.on('error', reject);
      worker.on('exit', (code) => (code === 0 ? resolve(text) : reject(new Error(`exit ${code}`))));
    });
  try {
    using session = one.createSession();
    let expected = '';
    for await (const piece of session.generate('Once upon a time', options)) expected += piece.text;
    expect(await Promise.all([run(), run()])).toEqual([expected, expected]);
  } finally {
    rmSync(directory, { recursive: true });
    if (one !== model) one.dispose();
  }
});

describe('loading', () => {
  test.each(devices)('reports its progress and can be aborted, on %s', async (device) => {
    const seen: [number, string][] = [];
    (await loadModel('default', { device, onProgress: (fraction, stage) => seen.push([fraction, stage]) })).dispose();
    expect(seen[0]).toEqual([0, 'opening']);
    expect(seen.at(-1)).toEqual([1, 'ready']);
    expect(seen.map(([fraction]) => fraction)).toEqual([...seen.map(([fraction]) => fraction)].sort((a, b) => a - b));
    await expect(loadModel('default', { device, signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'ABORTED',
    });
    const controller = new AbortController();
    const loading = loadModel('default', {
      device,
      signal: controller.signal,
      onProgress: (_, stage) => stage === 'weights' && controller.abort(),
    });
    await expect(loading).rejects.toMatchObject({ code: 'ABORTED' });
  });

  test.each<[unknown, string, string]>([
    // No library, or no driver: what is missing depends on the machine.
    ...(cardName === 'cuda' ? [] : [[{ device: 'cuda' }, 'DEVICE_UNAVAILABLE', ''] as [unknown, string, string]]),
    [
      { device: 'gpu' },
      'INVALID_ARGUMENT',
      "Expected one of 'auto', 'cpu', 'cuda', 'cuda-emulated', 'reference' for `device`, received \"gpu\"",
    ],
    [{ thread: 2 }, 'INVALID_ARGUMENT', 'Unknown option `thread` in the options of loadModel'],
    [{ threads: 0 }, 'INVALID_ARGUMENT', 'Expected an integer from 1 to 1024 for `threads`, received 0'],
    [{ contextLength: -1 }, 'INVALID_ARGUMENT', '`contextLength`, received -1'],
    [{ onProgress: 5 }, 'INVALID_ARGUMENT', 'Expected a function for `onProgress`, received 5'],
  ])('%p is refused', async (options, code, message) => {
    const error = await loadModel('default', options as LoadOptions).catch((cause: unknown) => cause);
    expect(error).toBeInstanceOf(VivaceError);
    expect(error).toMatchObject({ code, message: expect.stringContaining(message) });
  });

  test('what is no model is named', async () => {
    await expect(loadModel('/no/such/model.gguf')).rejects.toMatchObject({ code: 'FILE_NOT_FOUND' });
    await expect(loadModel(join(__dirname, 'life.test.ts'))).rejects.toMatchObject({ code: 'FORMAT_UNKNOWN' });
  });
});

test('the reference executor says what the native one says', async () => {
  using reference = await loadModel('default', { device: 'reference' });
  const say = async (one: Model): Promise<readonly number[]> => {
    using session = one.createSession({ cache: { keyType: 'f32', valueType: 'f32' } });
    const iterator = session.generate('Once upon a time', { seed: 3, maxTokens: 12 });
    for (let next = await iterator.next(); ; next = await iterator.next()) if (next.done) return next.value.tokens;
  };
  expect(await say(reference)).toEqual(await say(model));
});

test.each(devices)('an estimate is near what is used, on %s', async (device) => {
  const one = await modelOn(device);
  const contextLength = device === 'cpu' ? 640 : 64;
  using session = one.createSession();
  await session.forward(long(contextLength));
  const estimate = one.estimateMemory({ contextLength });
  const usage = one.memoryUsage();
  expect(usage.kv).toBe(estimate.kv);
  expect(usage.mapped + usage.weights).toBe(estimate.mapped + estimate.weights);
  expect(usage.activations).toBeLessThan(3 * estimate.activations);
  expect(one.estimateMemory({ contextLength, keyType: 'q8_0', valueType: 'q8_0' }).kv).toBeLessThan(0.54 * estimate.kv);
  if (one !== model) one.dispose();
});
