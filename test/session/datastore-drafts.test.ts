// The policy `datastore`: by path or opened, one opening for many generations, and errors that name the file.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  buildDatastore,
  datastore,
  Datastore,
  embeddedModelPath,
  loadModel,
  tokenizerFingerprint,
} from '../../lib/index.js';
import type { Drafter, GenerateResult, Model } from '../../lib/index.js';
import { testDevices } from '../ops/executors.js';

describe.each(testDevices())('on %s', (device) => {
  const prompt = 'Once upon a time';
  let folder: string;
  let store: string;
  let model: Model;
  let plain: GenerateResult;

  async function generate(drafter?: Drafter): Promise<GenerateResult> {
    using session = model.createSession();
    const drafts = drafter === undefined ? {} : { speculation: { drafter, adaptive: false } };
    const pieces = session.generate(prompt, { temperature: 0, maxTokens: device === 'cpu' ? 40 : 8, ...drafts });
    for (let next = await pieces.next(); ; next = await pieces.next()) if (next.done) return next.value;
  }

  const build = (name: string, vocab: number, text: Int32Array): Promise<unknown> =>
    buildDatastore(join(folder, name), [text], { vocab, fingerprint: tokenizerFingerprint(model.tokenizer) });

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'vivace-datastore-drafts-'));
    store = join(folder, 'answers.store');
    model = await loadModel(embeddedModelPath(), { threads: 2, device });
    plain = await generate();
    const { tokenizer } = model;
    await build('answers.store', tokenizer.vocabSize, tokenizer.encode(prompt + plain.text, { addSpecial: false }));
  });
  afterAll(() => {
    model.dispose();
    rmSync(folder, { recursive: true, force: true });
  });

  test('by path and opened, at once and one after the other: the plain text in fewer rounds', async () => {
    const opened = await Datastore.open(store, { fingerprint: tokenizerFingerprint(model.tokenizer) });
    const byPath = datastore(store);
    const results = await Promise.all([generate(byPath), generate(byPath), generate(datastore(opened))]);
    results.push(await generate(byPath));
    for (const { tokens, speculation } of results) {
      expect(tokens).toEqual(plain.tokens);
      expect(speculation).toMatchObject({ drafter: 'datastore', rounds: results[0].speculation!.rounds });
    }
    expect(results[0].speculation!.rounds).toBeLessThan(device === 'cpu' ? 20 : 7);
    opened.dispose();
  });

  test('leaving before the file is open', async () => {
    using session = model.createSession();
    const pieces = session.generate(prompt, { speculation: { drafter: datastore(store) }, maxTokens: 5 });
    void pieces.next();
    await pieces.return(undefined as never);
    expect((await generate(datastore(store))).tokens).toEqual(plain.tokens);
  });

  test('a file that is missing or broken fails the generation, and the next one tries again', async () => {
    const late = datastore(join(folder, 'late.store'));
    await expect(generate(late)).rejects.toMatchObject({ code: 'FILE_NOT_FOUND' });
    writeFileSync(join(folder, 'late.store'), 'no datastore at all');
    await expect(generate(late)).rejects.toMatchObject({ code: expect.stringMatching(/^FORMAT_/) });
    const { tokenizer } = model;
    await build('late.store', tokenizer.vocabSize, tokenizer.encode(prompt + plain.text, { addSpecial: false }));
    expect((await generate(late)).tokens).toEqual(plain.tokens);
  });

  test('a datastore of another tokenizer or a larger vocabulary, options out of range, and no datastore are refused', async () => {
    await build('large.store', 10 ** 6, Int32Array.of(1, 2, 10 ** 6 - 1));
    await expect(generate(datastore(join(folder, 'large.store')))).rejects.toThrow(/another tokenizer/);
    const other = { vocab: model.tokenizer.vocabSize, fingerprint: 5n };
    await buildDatastore(join(folder, 'other.store'), [Int32Array.of(1, 2, 3)], other);
    await expect(generate(datastore(join(folder, 'other.store')))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(generate(datastore(store, { samples: 0 }))).rejects.toThrow(/samples/);
    expect(() => datastore(5 as never)).toThrow(/a path or a Datastore/);
  });
});
