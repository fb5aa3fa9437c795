// Cache policies on cards: their pages in groups, with the bits of the full cache where everything is seen.
import { fullPattern, type KvPolicy, type LayerPattern } from '../../../lib/program/kv-policy.js';
import { NativeExecutor } from '../../../lib/program/native-executor.js';
import { cardName, emulatedDevice } from '../../ops/executors.js';
import { tinyModel, vocab } from '../../program/tiny-model.js';

const describeCard = emulatedDevice() ? describe : describe.skip; // builds without a card
const tiny = tinyModel();
const layers = (...patterns: Partial<LayerPattern>[]): KvPolicy => ({
  layers: patterns.map((one) => ({ ...fullPattern, ...one })),
});

describeCard('on a card', () => {
  let card: NativeExecutor;
  beforeAll(() => {
    card = new NativeExecutor(tiny.program, (tensor) => tiny.bytes(tensor), { threads: 1, deviceName: cardName });
  });
  afterAll(() => card.dispose());

  const text = Array.from({ length: 110 }, (_, i) => (i * 31 + ((i * i) % 7)) % vocab);

  /** Logits of every token, read in runs of the given lengths, of two sequences of which the second is a fork. */
  async function whole(policy: KvPolicy | undefined, chunks: readonly number[]): Promise<Float32Array[]> {
    const kv = card.createKvCache({ pageSize: 16, maxPages: 64, ...(policy ? { policy } : {}) });
    const first = kv.create();
    const rows: Float32Array[] = [];
    let other: number | undefined;
    for (let from = 0, turn = 0; from < text.length; ++turn) {
      const part = text.slice(from, from + chunks[turn % chunks.length]);
      for (const sequence of other === undefined ? [first] : [first, other]) {
        const logits = new Float32Array(part.length * vocab).fill(NaN);
        await card.run(kv, {
          tokens: Int32Array.from(part),
          positions: Int32Array.from(part, (_, i) => from + i),
          sequences: new Int32Array(part.length).fill(sequence),
          outputs: Int32Array.from(part, (_, i) => i),
          logits,
        });
        rows.push(logits);
      }
      from += part.length;
      if (from > 50) other ??= kv.fork(first);
    }
    kv.dispose();
    return rows;
  }

  test('settings under which everything is seen give the bits of the full cache', async () => {
    const chunks = [35, 1, 20, 1, 5];
    const full = await whole(undefined, chunks);
    for (const policy of [
      layers({ sinks: 4, window: 110 }, {}),
      layers({ block: 16, local: 1, stride: 1 }, { block: 32, local: 30, stride: 7, headStep: 2 }),
      layers({ block: 16, local: 7, stride: 5, headStep: 1 }, { block: 16, local: 1, stride: 3, denseHeads: 2 }),
    ]) {
      expect(await whole(policy, chunks)).toEqual(full);
    }
  });
});
