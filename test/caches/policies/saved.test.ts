// Sessions saved under cache policies: what another process restores goes on with the same bits and takes the same memory; files
// that are damaged, or say what no session is, are refused by name and leave nothing behind.
import { readFileSync, writeFileSync } from 'node:fs';
import { loadModel, window, type Model, type Session } from '../../../lib/index.js';
import { Generator } from '../../fixtures/random/generator.js';
import { scratch } from '../../formats/scratch.js';
import { kinds, writeModel } from './setting.js';

const { at } = scratch();
let model: Model;
let other: Model;
beforeAll(async () => {
  writeModel(at('model.gguf'));
  model = await loadModel(at('model.gguf'), { threads: 1 });
  other = await loadModel(at('model.gguf'), { threads: 2, prefixCache: false });
});
afterAll(() => {
  for (const one of [model, other]) one.dispose();
});

const prompt = Array.from({ length: 90 }, (_, i) => 261 + ((i * 17) % 90));

async function say(session: Session, text: readonly number[], maxTokens: number): Promise<readonly number[]> {
  const logitBias = new Map([...model.tokenizer.endOfGeneration].map((token) => [token, -Infinity]));
  for await (const _ of session.generate(text, { temperature: 0, maxTokens, logitBias }));
  return session.lastResult?.tokens ?? [];
}

async function codeOf(bytes: Uint8Array): Promise<string> {
  writeFileSync(at('damaged'), bytes);
  const used = other.memoryUsage().kv;
  try {
    (await other.restoreSession(at('damaged'))).dispose();
  } catch (error) {
    expect(other.memoryUsage().kv).toBe(used);
    return (error as { code: string }).code;
  }
  return 'none';
}

const policies = kinds.filter(([, { cache }]) => cache.policy !== undefined);

test.each(policies)('%s: goes on with the same bits, in the same memory', async (_, { cache }) => {
  using session = model.createSession({ cache });
  await say(session, prompt, 40);
  session.rollback(3);
  await session.save(at('saved'));
  const before = [model, other].map((one) => one.memoryUsage().kv);
  using restored = await other.restoreSession(at('saved'));
  expect(other.memoryUsage().kv - before[1]).toBe(before[0]);
  expect([...restored.tokens]).toEqual([...session.tokens]);
  expect(restored.contextLength).toBe(session.contextLength);
  expect(await say(restored, [300, 301], 50)).toEqual(await say(session, [300, 301], 50));
  expect(restored.lastResult?.usage.cachedTokens).toBe(session.lastResult?.usage.cachedTokens);
  const [one, two] = [await session.forward([299]), await restored.forward([299])];
  expect(Buffer.from(two.buffer).equals(Buffer.from(one.buffer))).toBe(true);
});

test('a text of which most is gone: the file holds what is kept', async () => {
  using session = model.createSession({ cache: window({ sinks: 4, recent: 40, pageSize: 8 }) });
  await say(session, prompt, 900);
  await session.save(at('long'));
  // Sinks, window, a page for rollbacks, and pages that are begun or not yet over; the tokens, and a header.
  const kept = (8 + 41 + 8 + 64 + 16) * model.estimateMemory().kvPerToken;
  expect(readFileSync(at('long')).length).toBeLessThan(kept + 4 * 990 + 600);
  using restored = await other.restoreSession(at('long'));
  expect(await say(restored, [], 60)).toEqual(await say(session, [], 60));
});

test('damaged files are refused by name', async () => {
  const random = new Generator(3, 'kept');
  for (const [, { cache }] of policies) {
    using session = model.createSession({ cache });
    await say(session, prompt, 30);
    await session.save(at('whole'));
    const saved = readFileSync(at('whole'));
    const headerLength = saved.readUInt32LE(12);
    expect(await codeOf(saved)).toBe('none');
    for (let round = 0; round < 30; round++) {
      const bytes = Uint8Array.from(saved);
      const place = round < 20 ? 8 + random.integer(0, headerLength + 7) : random.integer(0, saved.length - 1);
      bytes[place] ^= 1 << random.integer(0, 7);
      expect(await codeOf(bytes)).toMatch(/^(FORMAT_[A-Z]+|INVALID_ARGUMENT|CONTEXT_FULL|OUT_OF_MEMORY)$/);
    }
    interface Header {
      kept: { policy: { kind: string }; pageSize: number; state: number[]; bytes: number };
    }
    const forge = (change: (header: Header) => void): Buffer => {
      const header = JSON.parse(saved.subarray(16, 16 + headerLength).toString()) as Header;
      change(header);
      const json = Buffer.from(JSON.stringify(header));
      const forged = Buffer.concat([saved.subarray(0, 16), json, saved.subarray(16 + headerLength)]);
      forged.writeUInt32LE(json.length, 12);
      return forged;
    };
    for (const change of [
      ({ kept }: Header) => (kept.policy.kind = 'toString'),
      ({ kept }: Header) => Object.assign(kept.policy, { extra: 1 }),
      ({ kept }: Header) => (kept.state[0] = 2 ** 29), // more cells than tokens
      ({ kept }: Header) => (kept.state[1] += 1),
      ({ kept }: Header) => (kept.state[3] = kept.state[0] + 1),
      ({ kept }: Header) => (kept.state = [1, 2]),
      ({ kept }: Header) => (kept.pageSize = 0),
      ({ kept }: Header) => (kept.bytes = 2 ** 39),
      (header: Header) => delete (header as Partial<Header>).kept,
    ]) {
      expect(await codeOf(forge(change))).toMatch(/^(FORMAT_[A-Z]+|INVALID_ARGUMENT|OUT_OF_MEMORY)$/);
    }
  }
});
