// Pages on every device, in a card's memory too (emulated), that are shared, written behind and forgotten: the bits of sessions
// that share nothing. Prompts are of fewer than 32 rows, which is where a card's kernels change.
import type { CacheType, Model, Session } from '../../lib/index.js';
import { modelOn } from '../fixtures/model-on.js';
import { testDevices } from '../ops/executors.js';

async function say(session: Session, prompt: readonly number[]): Promise<number> {
  const pieces = session.generate(prompt, { temperature: 0, maxTokens: 1 });
  for (let next = await pieces.next(); ; next = await pieces.next())
    if (next.done) return next.value.usage.sharedTokens;
}

describe.each(testDevices())('on %s', (device) => {
  let sharing: Model;
  let alone: Model;
  beforeAll(async () => {
    sharing = await modelOn(device);
    alone = await modelOn(device, 1, { prefixCache: false });
  });
  afterAll(() => {
    sharing.dispose();
    alone.dispose();
  });

  test.each<CacheType>(['f16', 'q8_0', 'q4_0', 'f32'])(
    'shared pages (%s) hold what would be computed',
    async (type) => {
      const of = { cache: { keyType: type, valueType: type, pageSize: 8 } };
      const document = Array.from({ length: 21 }, (_, index) => (7 * index + 3) % 20);
      using first = sharing.createSession(of);
      using plain = alone.createSession(of);
      expect([await say(first, document), await say(plain, document)]).toEqual([0, 0]);
      // Into the middle of a published page and on: the page is copied where it lies.
      using past = plain.fork();
      for (const session of [first, past]) session.rollback(session.length - 12);
      expect(await first.forward([5, 6, 7])).toEqual(await past.forward([5, 6, 7]));
      using second = sharing.createSession(of);
      expect(await say(second, document)).toBe(16);
      // The last token said has not been read yet, in either.
      expect(await second.forward([9, 9])).toEqual(await plain.forward([9, 9]));
      for (const session of [first, second]) session.dispose();
      expect(sharing.memoryUsage().kv).toBe(0);
      expect(sharing.memoryUsage().prefixCache).toBeGreaterThan(0);
      sharing.prefixCache.clear();
      expect(sharing.memoryUsage().prefixCache).toBe(0);
      using third = sharing.createSession(of);
      expect(await say(third, document)).toBe(0);
    },
  );

  test('memory for it is a share of what the device has', () => {
    expect(sharing.prefixCache.statistics().limit).toBeGreaterThan(2 ** 20);
  });
});
