// Sessions on a card under the policies that choose cells: Double Sparsity and SnapKV say what the CPU says, with drafts, forks
// and rollbacks.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { calibrate, doubleSparsity, nGram, snapKv, type CacheOptions, type Model } from '../../../lib/index.js';
import { bpeModel } from '../../decode/speculation/cross-vocabulary/random-pairs.js';
import { cardName, emulatedDevice } from '../../ops/executors.js';

const folder = mkdtempSync(join(tmpdir(), 'vivace-choosing-'));
const text = 'once there was a little house and in the house there was a cat and the cat was old ';
const describeCard = emulatedDevice() ? describe : describe.skip; // builds without a card

describeCard('on a card', () => {
  let cpu: Model;
  let card: Model;
  let policies: Record<string, CacheOptions>;
  beforeAll(async () => {
    cpu = await bpeModel(join(folder, 'cpu.gguf'), 30, { layers: 2, threads: 1 });
    card = await bpeModel(join(folder, 'card.gguf'), 30, { layers: 2, threads: 1, device: cardName });
    const channels = await calibrate(cpu, text.repeat(8), { blockLength: 40 });
    const few = { channels, heavyChannels: 8, tokens: 16, sparsity: 0, sparseThreshold: 0, denseLayers: [0] };
    policies = {
      'double-sparsity': doubleSparsity(few),
      'double-sparsity, q8_0': doubleSparsity({ ...few, labelBits: 8, keyType: 'q8_0', valueType: 'q8_0' }),
      snapkv: snapKv({ budget: 40, window: 8, pageSize: 16 }),
      'double-sparsity, q4_0': doubleSparsity({ ...few, keyType: 'q8_0', valueType: 'q4_0' }),
      'snapkv, q8_0': snapKv({ budget: 40, window: 8, keyType: 'q8_0', valueType: 'q8_0' }),
      'snapkv, q4_0': snapKv({ budget: 40, window: 8, keyType: 'q4_0', valueType: 'q4_0' }),
    };
  });
  afterAll(() => {
    cpu.dispose();
    card.dispose();
    rmSync(folder, { recursive: true, force: true });
  });

  async function said(model: Model, cache: CacheOptions, more: object = {}): Promise<number[]> {
    using session = model.createSession({ cache });
    const tokens: number[] = [];
    const say = async (of: typeof session, prompt: string, maxTokens: number): Promise<void> => {
      for await (const part of of.generate(prompt, { maxTokens, temperature: 0, ...more })) tokens.push(...part.tokens);
    };
    await say(session, text, 16);
    using fork = session.fork();
    await say(session, ' and then the cat and the house and the little old cat', 8);
    session.rollback(3);
    await say(session, '', 4);
    await say(fork, ' but', 6);
    return tokens;
  }

  const names = ['', ', q8_0', ', q4_0'].flatMap((types) => [`double-sparsity${types}`, `snapkv${types}`]);
  test.each(names)('%s', async (name) => {
    const wanted = await said(cpu, policies[name]);
    expect(wanted.length).toBeGreaterThan(20);
    expect(await said(card, policies[name])).toEqual(wanted);
    // Not what the full cache says, or nothing would be tested.
    const { keyType, valueType } = policies[name];
    expect(await said(cpu, { ...(keyType ? { keyType, valueType } : {}) })).not.toEqual(wanted);
    if (name.includes(', ')) return;
    const drafted = { speculation: { drafter: nGram(), adaptive: false, maxDraft: 6 } };
    expect(await said(card, policies[name], drafted)).toEqual(wanted);
  });
});
