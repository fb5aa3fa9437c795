// What verifiers are given in files: heads that AutoJudge exports, as pickles of which nothing is run, and settings of second readings.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  embeddedModelPath,
  importAutoJudge,
  loadJudge,
  loadModel,
  loadReflection,
  reflectionFileOf,
  saveJudge,
  saveReflection,
  VivaceError,
} from '../../../lib/index.js';
import type { Model } from '../../../lib/index.js';
import { readPickle } from '../../../lib/decode/speculation/judge/plain-pickle.js';
import { scoresOf } from '../../../lib/decode/speculation/judge/train.js';
import { Generator } from '../../fixtures/random/generator.js';

let model: Model;
let width: number;
const folder = mkdtempSync(join(tmpdir(), 'vivace-imports-'));
beforeAll(async () => {
  model = await loadModel(embeddedModelPath(), { threads: 1 });
  width = model.hiddenWidth();
});
afterAll(() => {
  model.dispose();
  rmSync(folder, { recursive: true });
});

/** Written by Python 3.11 with numpy 1.24: pickle.dumps of a dictionary, protocols 4 and 3. */
const written = Buffer.from(
  'gASVNQIAAAAAAAB9lCiMBG1lYW6UjBVudW1weS5jb3JlLm11bHRpYXJyYXmUjAxfcmVjb25zdHJ1Y3SUk5SMBW51bXB5lIwHbmRhcnJheZSTlEsAhZRDAWKUh5RSlChLAUsChZRoBYwFZHR5cGWUk5SMAmY4lImIh5RSlChLA4wBPJROTk5K/////0r/////SwB0lGKJQxAAAAAAAADwPwAAAAAAAABAlHSUYowFc2NhbGWUaARoB0sAhZRoCYeUUpQoSwFLAoWUaA6MAmY0lImIh5RSlChLA2gSTk5OSv////9K/////0sAdJRiiUMIAAAAQAAAAD+UdJRijAd3ZWlnaHRzlGgEaAdLAIWUaAmHlFKUKEsBSwKFlGgRiUMQAAAAAAAACEAAAAAAAADwv5R0lGKMBGJpYXOUaARoB0sAhZRoCYeUUpQoSwFLAYWUaBGJQwgAAAAAAADgP5R0lGKMA3RocpRHP9AAAAAAAACMCnRocmVzaG9sZHOUXZQoRz/AAAAAAAAAaAKMBnNjYWxhcpSTlGgRQwgAAAAAAADoP5SGlFKUZYwGY291bnRzlGgEaAdLAIWUaAmHlFKUKEsBSwJLAoaUaA6MAmk4lImIh5RSlChLA2gSTk5OSv////9K/////0sAdJRiiUMgAQAAAAAAAAACAAAAAAAAAAMAAAAAAAAABAAAAAAAAACUdJRijARuYW1llIwBeJSMBG5vbmWUTowFZmxhZ3OUXZQoiIlK+f///0pwEQEAZXUu',
  'base64',
);
const older = Buffer.from(
  'gAN9cQBYBAAAAG1lYW5xAWNudW1weS5jb3JlLm11bHRpYXJyYXkKX3JlY29uc3RydWN0CnECY251bXB5Cm5kYXJyYXkKcQNLAIVxBEMBYnEFh3EGUnEHKEsBSwKFcQhjbnVtcHkKZHR5cGUKcQlYAgAAAGY4cQqJiIdxC1JxDChLA1gBAAAAPHENTk5OSv////9K/////0sAdHEOYolDEAAAAAAAAPA/AAAAAAAAAEBxD3RxEGJzLg==',
  'base64',
);

test('pickles of numpy: values by their bytes', () => {
  const found = readPickle(written, 'it') as Map<string, unknown>;
  expect(Object.fromEntries(found)).toEqual({
    mean: Float64Array.of(1, 2),
    scale: Float64Array.of(2, 0.5),
    weights: Float64Array.of(3, -1),
    bias: Float64Array.of(0.5),
    thr: 0.25,
    thresholds: [0.125, 0.75],
    counts: Float64Array.of(1, 2, 3, 4),
    name: 'x',
    none: null,
    flags: [true, false, -7, 70000],
  });
});

test('an older protocol', () => {
  expect(readPickle(older, 'it')).toEqual(new Map([['mean', Float64Array.of(1, 2)]]));
});

test('whatever else a pickle is, it is refused, and nothing of it happens', () => {
  const trace = join(folder, 'trace');
  const program = Buffer.from(`\x80\x03cposix\nsystem\n\x8c\x40touch ${trace}`.padEnd(19 + 64, ' '), 'latin1');
  const cases: [Uint8Array, string, RegExp][] = [
    [program, 'UNSUPPORTED_FEATURE', /posix\.system/],
    [Buffer.from('\x80\x04\x8c\x07sklearn\x8c\x05Model\x93.', 'latin1'), 'UNSUPPORTED_FEATURE', /sklearn\.Model/],
    [Buffer.from('\x80\x02}.', 'latin1'), 'UNSUPPORTED_FEATURE', /protocol/],
    [Buffer.from('\x80\x04\xff', 'latin1'), 'UNSUPPORTED_FEATURE', /instruction 255/],
    [Buffer.from('\x80\x04]\x94h\x00a.', 'latin1'), 'FORMAT_INVALID', /broken/], // a list that holds itself
    [Buffer.from('\x80\x04.', 'latin1'), 'FORMAT_INVALID', /missing/],
    [Buffer.from('\x80\x04(.', 'latin1'), 'FORMAT_INVALID', /missing/],
    [Buffer.from('\x80\x04K\x01K\x02s.', 'latin1'), 'FORMAT_INVALID', /dictionary/],
    [Buffer.from('\x80\x04N)R.', 'latin1'), 'FORMAT_INVALID', /of nothing/],
  ];
  for (const [bytes, code, message] of cases) {
    const failure = attempt(bytes);
    expect(failure).toMatchObject({ code, message: expect.stringMatching(message) as string });
  }
  expect(() => readFileSync(trace)).toThrow();
  const random = new Generator(3, 'pickles');
  for (let trial = 0; trial < 3000; trial++) {
    const changed = Buffer.from(written.subarray(0, random.integer(0, written.length)));
    for (let i = 0; i < trial % 4 && changed.length > 0; i++) {
      changed[random.integer(0, changed.length - 1)] = random.integer(0, 255);
    }
    const failure = attempt(changed);
    if (failure !== undefined) expect(failure).toBeInstanceOf(VivaceError);
  }
});

function attempt(bytes: Uint8Array): unknown {
  try {
    readPickle(bytes, 'it');
  } catch (error) {
    return error;
  }
  return undefined;
}

/** A pickle of protocol 4 with arrays of doubles and numbers. */
function pickled(entries: Readonly<Record<string, Float64Array | number>>): Buffer {
  const parts: Buffer[] = [Buffer.from('\x80\x04}(', 'latin1')];
  const text = (value: string): Buffer => Buffer.from(`\x8c${String.fromCharCode(value.length)}${value}`, 'latin1');
  const size = (count: number): Buffer => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(count);
    return bytes;
  };
  for (const [name, value] of Object.entries(entries)) {
    parts.push(text(name));
    if (typeof value === 'number') {
      const bytes = Buffer.alloc(8);
      bytes.writeDoubleBE(value);
      parts.push(Buffer.from('G'), bytes);
      continue;
    }
    const data = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    parts.push(text('numpy._core.multiarray'), text('_reconstruct'), Buffer.from('\x93', 'latin1'));
    parts.push(text('numpy'), text('ndarray'), Buffer.from('\x93K\x00\x85C\x01b\x87R(K\x01J', 'latin1'));
    parts.push(size(value.length), Buffer.from('\x85', 'latin1'), text('numpy'), text('dtype'));
    parts.push(Buffer.from('\x93', 'latin1'), text('f8'), Buffer.from('\x89\x88\x87R(K\x03', 'latin1'), text('<'));
    parts.push(Buffer.from('NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89B', 'latin1'));
    parts.push(size(data.length), data, Buffer.from('tb'));
  }
  return Buffer.concat([...parts, Buffer.from('u.')]);
}

test('a head of AutoJudge becomes one of ours: the scaler folded away, the sign turned', async () => {
  const random = new Generator(4, 'autojudge');
  const values = (): Float64Array => Float64Array.from({ length: width }, () => random.normal());
  const [mean, weights] = [values(), values()];
  const scale = Float64Array.from({ length: width }, (_, k) => (k === 7 ? 0 : 0.5 + random.next() / 2 ** 32));
  const file = join(folder, 'head.pkl');
  const entries = { mean, scale, weights, bias: Float64Array.of(0.3), thr: 0.2 };
  writeFileSync(file, pickled(entries));
  const head = await importAutoJudge(file, model);
  expect(head).toMatchObject({ kind: 'autojudge', threshold: 0.8, targetHash: model.fingerprint() });
  for (let trial = 0; trial < 20; trial++) {
    const hidden = Float32Array.from({ length: width }, () => random.normal());
    const important = hidden.reduce((sum, x, k) => sum + (weights[k] * (x - mean[k])) / (scale[k] || 1), 0.3);
    expect(Math.abs(scoresOf([{ hidden }], head)[0] + important)).toBeLessThan(1e-4 * (1 + Math.abs(important)));
  }
  const saved = join(folder, 'head.safetensors');
  saveJudge(saved, head);
  expect(await loadJudge(saved, model)).toEqual(head);
  await expect(loadJudge(file, model)).rejects.toMatchObject({
    code: 'FORMAT_INVALID',
    remedy: expect.stringMatching(/importAutoJudge/) as string,
  });
  const wrong: [Parameters<typeof pickled>[0], string, RegExp][] = [
    [{ ...entries, weights: weights.slice(1) }, 'FORMAT_INVALID', /belong together/],
    [{ ...entries, bias: NaN }, 'FORMAT_INVALID', /belong together/],
    [{ mean, scale, thr: 0.2 }, 'FORMAT_INVALID', /no head/],
    [
      { ...entries, ...Object.fromEntries(['mean', 'scale', 'weights'].map((name) => [name, new Float64Array(600)])) },
      'SHAPE_MISMATCH',
      /600 weights/,
    ],
  ];
  for (const [changed, code, message] of wrong) {
    writeFileSync(file, pickled(changed));
    await expect(importAutoJudge(file, model)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message) as string,
    });
  }
  await expect(importAutoJudge(join(folder, 'none.pkl'), model)).rejects.toMatchObject({ code: 'FILE_NOT_FOUND' });
  await expect(importAutoJudge(saved, model)).rejects.toMatchObject({ code: 'FORMAT_INVALID' });
});

test('settings of second readings: what was saved for a model comes back, and others are refused', () => {
  const file = join(folder, 'reflect.json');
  const settings = { alpha: 0.2, anchorTokens: 4, prompt: '\n(Again.)\n', correctionFrom: 'base' } as const;
  saveReflection(file, model, settings, { right: 0.96 });
  expect(loadReflection(file, model)).toEqual({ name: 'reflective', ...settings });
  expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject({ format: 'reflect-v1', evaluated: { right: 0.96 } });
  saveReflection(file, model, { prompt: Int32Array.of(50, 60) });
  expect(loadReflection(file, model)).toEqual({ name: 'reflective', prompt: [50, 60] });
  expect(() => saveReflection(file, model, { alpha: 0.9 })).toThrow(/0 to 0\.5/);
  expect(() => saveReflection(file, model, { aplha: 0.1 } as never)).toThrow(/aplha/);
  const good = { format: 'reflect-v1', model: 'm', model_hash: model.fingerprint(), alpha: 0.2 };
  const [end] = model.tokenizer.endOfGeneration;
  const wrong: [unknown, RegExp][] = [
    [{ ...good, model_hash: 'other' }, /another model \(m\)/],
    [{ ...good, alpha: 2 }, /alpha/],
    [{ ...good, beta: 2 }, /not known/],
    [{ ...good, format: 'v0' }, /format is v0/],
    [{ alpha: 0.2 }, /not named/],
    [{ format: 'reflect-v1' }, /names no model/],
    [{ ...good, prompt: [end] }, /special token/],
    [null, /not named/],
  ];
  for (const [data, message] of wrong) {
    writeFileSync(file, JSON.stringify(data));
    expect(() => loadReflection(file, model)).toThrow(message);
    expect(() => loadReflection(file, model)).toThrow(VivaceError);
  }
  writeFileSync(file, JSON.stringify({ ...good, model_hash: 'other' }));
  expect(loadReflection(file, model, { force: true })).toEqual({ name: 'reflective', alpha: 0.2 });
  writeFileSync(file, '{');
  expect(() => loadReflection(file, model)).toThrow(/no settings/);
  expect(() => loadReflection(join(folder, 'none'), model)).toThrow(/No such file/);
  mkdirSync(join(folder, 'model'));
  expect(reflectionFileOf(join(folder, 'model'))).toBe(join(folder, 'model', 'reflect.json'));
  expect(reflectionFileOf('a/b.gguf')).toBe('a/b.reflect.json');
});
