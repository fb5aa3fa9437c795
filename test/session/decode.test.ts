// What a session gives out, for scripted tokens: whole characters, nothing of stop strings, every token accounted for.
import fc from 'fast-check';
import type { Piece } from '../../lib/decode/answer.js';
import type { GenerateResult } from '../../lib/decode/loop.js';
import type { GenerateOptions } from '../../lib/decode/options.js';
import { TokenList } from '../../lib/decode/token-list.js';
import { Engine } from '../../lib/engine.js';
import { openModelFile } from '../../lib/formats/open.js';
import { createTokenizer } from '../../lib/formats/tokenizer/tokenizer.js';
import { embeddedModelPath } from '../../lib/model/load.js';
import { Session } from '../../lib/session/session.js';
import { FakeExecutor } from './fake-executor.js';

const tokenizer = createTokenizer(openModelFile(embeddedModelPath()).tokenizer);
const [endOfTurn] = tokenizer.endOfGeneration;
const prompt = tokenizer.encode('Say:');

/** A session whose model says the script and then ends its turn; beyond `fail` tokens it gives no numbers. */
function scripted(script: ArrayLike<number>, { contextLength = 4096, ms = 0, fail = Infinity } = {}) {
  const follow = (text: readonly number[]): number => {
    const said = text.length - prompt.length;
    return said >= fail ? -1 : said < script.length ? script[said] : endOfTurn;
  };
  const executor = new FakeExecutor({ vocab: tokenizer.vocabSize, follow, ms });
  const engine = new Engine(executor, tokenizer.vocabSize);
  const kv = executor.createKvCache();
  const host = {
    rounds: engine,
    executor,
    tokenizer,
    logitsWidth: tokenizer.vocabSize,
    vocab: tokenizer.vocabSize,
    fingerprint: () => 'scripted',
    joined: () => {},
    left: () => {},
  };
  const types = { keyType: 'F16', valueType: 'F16', pageSize: 32 } as const;
  const seat = { kv, sequence: kv.create(), ...types, contextLength };
  return { session: new Session(host, seat, new TokenList()), executor, engine, kv };
}

async function collect(
  session: Session,
  options: GenerateOptions = {},
): Promise<{ pieces: Piece[]; result: GenerateResult }> {
  const pieces: Piece[] = [];
  const iterator = session.generate(prompt, options);
  for (let next = await iterator.next(); ; next = await iterator.next()) {
    if (next.done) return { pieces, result: next.value };
    pieces.push(next.value);
  }
}

const texts = fc.string({
  unit: fc.oneof(
    fc.constantFrom('a', 'b', ' ', '\n', 'é', '日', '😀', '👩‍👩‍👧'),
    fc.string({ unit: 'grapheme', minLength: 1, maxLength: 1 }),
  ),
  maxLength: 30,
});

test('pieces are whole characters and add up to the text, whatever tokens they come in', async () => {
  await fc.assert(
    fc.asyncProperty(texts, fc.boolean(), async (text, byBytes) => {
      // Either the tokenizer's own tokens, or one per byte: then characters arrive in parts.
      const tokens = byBytes ? byteTokens(text) : tokenizer.encode(text, { addSpecial: false });
      const { session } = scripted(tokens);
      const { pieces, result } = await collect(session, { logprobs: 2 });
      expect(pieces.map((piece) => piece.text).join('')).toBe(text);
      for (const piece of pieces) {
        expect(piece.text).not.toMatch(/\p{Surrogate}/u);
        expect(piece.text.includes('\ufffd')).toBe(text.includes('\ufffd') && piece.text.includes('\ufffd'));
        expect(piece.logprobs?.map(({ token }) => token)).toEqual(piece.tokens);
      }
      expect(pieces.flatMap((piece) => piece.tokens)).toEqual([...tokens]);
      expect(result).toMatchObject({ finishReason: 'stop', text, tokens: [...tokens] });
      expect([...session.tokens]).toEqual([...prompt, ...tokens]);
    }),
    { numRuns: 150 },
  );
});

test('the first part of a character that belongs to a stop string is not a token of the answer', async () => {
  const { session } = scripted(byteTokens('ééa'));
  const { result } = await collect(session, { stop: ['éa'] });
  expect(result).toMatchObject({ text: 'é', tokens: byteTokens('é'), stopString: 'éa' });
});

test('nothing of a stop string gets out, and the session ends where the visible text does', async () => {
  const stops = fc.array(fc.string({ unit: fc.constantFrom('a', 'b', ' ', '\n', 'é'), minLength: 1, maxLength: 3 }), {
    minLength: 1,
    maxLength: 3,
  });
  await fc.assert(
    fc.asyncProperty(texts, stops, fc.boolean(), async (text, stop, byBytes) => {
      const tokens = byBytes ? byteTokens(text) : tokenizer.encode(text, { addSpecial: false });
      const { session, kv } = scripted(tokens);
      const { pieces, result } = await collect(session, { stop });
      const visible = pieces.map((piece) => piece.text).join('');
      expect(result.finishReason).toBe('stop');
      expect(text.startsWith(visible)).toBe(true);
      if (result.stopString === undefined) expect(visible).toBe(text);
      else expect(text.slice(visible.length).startsWith(result.stopString)).toBe(true);
      for (const one of stop) expect(visible.includes(one)).toBe(false);
      // The tokens kept say the visible text, and the last of them is needed for it.
      const kept = result.tokens;
      expect(pieces.flatMap((piece) => piece.tokens)).toEqual(kept);
      expect([...session.tokens]).toEqual([...prompt, ...kept]);
      expect(text.startsWith(decode(kept)) || decode(kept).includes('\ufffd')).toBe(true);
      expect(decode(kept).startsWith(visible)).toBe(true);
      if (result.stopString !== undefined && kept.length > 0) {
        expect(decode(kept.slice(0, -1)).length < visible.length || decode(kept.slice(0, -1)).includes('\ufffd')).toBe(
          true,
        );
      }
      expect(kv.length(0)).toBeLessThanOrEqual(session.length);
    }),
    { numRuns: 300 },
  );
});

/** One token per byte, where the vocabulary has one. */
function byteTokens(text: string): number[] {
  const bytes = Buffer.from(text);
  return [...bytes].flatMap((byte) => singles.get(byte) ?? []);
}
const singles = new Map<number, number>();
for (let token = 0; token < tokenizer.vocabSize; token++) {
  const piece = tokenizer.piece(token);
  if (piece.length === 1 && !tokenizer.isSpecial(token) && !singles.has(piece[0])) singles.set(piece[0], token);
}
const decode = (tokens: readonly number[]): string =>
  Buffer.concat(tokens.map((token) => tokenizer.piece(token))).toString();

test('the vocabulary has a token for every byte, so that these tests cut characters apart', () => {
  expect(singles.size).toBe(256);
});

const word = tokenizer.encode(' one two three four five six seven', { addSpecial: false });

test('maxTokens and the end of the context end with length, the end of a turn with stop', async () => {
  const limited = await collect(scripted(word).session, { maxTokens: 3 });
  expect(limited.result).toMatchObject({
    finishReason: 'length',
    tokens: [...word.slice(0, 3)],
    usage: { promptTokens: prompt.length, cachedTokens: 0, completionTokens: 3 },
  });
  const full = await collect(scripted(word, { contextLength: prompt.length + 4 }).session);
  expect(full.result).toMatchObject({ finishReason: 'length', tokens: [...word.slice(0, 4)] });
  const whole = await collect(scripted(word).session, { maxTokens: word.length + 1 });
  expect(whole.result).toMatchObject({ finishReason: 'stop', tokens: [...word] });
  const silent = await collect(scripted([]).session);
  expect(silent).toMatchObject({
    pieces: [],
    result: { finishReason: 'stop', text: '', usage: { completionTokens: 0 } },
  });
});

test('a character that never ends is shown as the replacement character, as decode() does', async () => {
  const tokens = byteTokens('é').slice(0, 1);
  const { pieces, result } = await collect(scripted(tokens).session, { maxTokens: 1 });
  expect(pieces).toEqual([{ text: '\ufffd', tokens }]);
  expect(result.text).toBe('\ufffd');
});

test('prompt and answer that cannot fit are refused with figures', () => {
  const { session } = scripted(word, { contextLength: 10 });
  const refused = expect.objectContaining({
    code: 'CONTEXT_FULL',
    message: `${prompt.length} new tokens + 20 to generate exceed the context of 10 tokens`,
    remedy: expect.stringContaining('contextLength'),
  });
  expect(() => session.generate(prompt, { maxTokens: 20 })).toThrow(refused);
  expect(() => session.generate(new Int32Array(10))).toThrow(expect.objectContaining({ code: 'CONTEXT_FULL' }));
});

describe('a generation that does not run to its end', () => {
  test('aborted while it speaks, it ends with abort within a round and keeps what was said', async () => {
    const { session, executor } = scripted(word, { ms: 2 });
    const controller = new AbortController();
    const seen: string[] = [];
    let rounds = 0;
    const iterator = session.generate(prompt, { signal: controller.signal });
    let next = await iterator.next();
    for (; !next.done; next = await iterator.next()) {
      seen.push(next.value.text);
      if (seen.length === 3) {
        rounds = executor.requests.length;
        controller.abort();
      }
    }
    expect(executor.requests.length).toBeLessThanOrEqual(rounds + 1);
    expect(next.value).toMatchObject({ finishReason: 'abort', text: seen.join('') });
    expect(session.length).toBe(prompt.length + next.value.tokens.length);
    expect(executor.samplers).toBe(0);
  });

  test('aborted before or during the prompt, the session is as it was', async () => {
    const { session, executor } = scripted(word, { ms: 2 });
    const early = await collect(session, { signal: AbortSignal.abort() });
    expect(early).toMatchObject({ pieces: [], result: { finishReason: 'abort', usage: { completionTokens: 0 } } });
    expect(session.length).toBe(0);
    expect(executor.requests).toHaveLength(0);
    const controller = new AbortController();
    const long = session.generate(new Int32Array(2000), { signal: controller.signal });
    setTimeout(() => controller.abort(), 3);
    expect((await long.next()).value).toMatchObject({ finishReason: 'abort' });
    expect(executor.requests.length).toBeLessThan(4);
    expect(session.length).toBe(0);
    expect((await collect(session)).result.finishReason).toBe('stop'); // and goes on as if nothing had been
  });

  test('left early, it keeps what the caller saw, and the session can go on', async () => {
    const { session, executor } = scripted(word);
    let seen = '';
    for await (const piece of session.generate(prompt)) {
      seen += piece.text;
      if (seen.length > 8) break;
    }
    expect(session.lastResult).toMatchObject({ finishReason: 'abort', text: seen });
    expect([...session.tokens]).toEqual([...prompt, ...(session.lastResult?.tokens ?? [])]);
    expect(executor.samplers).toBe(0);
    let rest = '';
    for await (const piece of session.generate([])) rest += piece.text;
    expect(seen + rest).toBe(decode([...word]));
  });

  test('an error reaches the caller; before the first token the session is as it was', async () => {
    const failing = scripted(word, { fail: 0 });
    await expect(collect(failing.session)).rejects.toMatchObject({ code: 'NUMERIC' });
    expect(failing.session.length).toBe(0);
    const late = scripted(word, { fail: 2 });
    const seen: Piece[] = [];
    await expect(
      (async () => {
        for await (const piece of late.session.generate(prompt)) seen.push(piece);
      })(),
    ).rejects.toMatchObject({ code: 'NUMERIC' });
    expect([...late.session.tokens]).toEqual([...prompt, ...seen.flatMap((piece) => piece.tokens)]);
    expect(late.executor.samplers).toBe(0);
  });

  test('one thing at a time: a second call is BUSY, a fork is not', async () => {
    const { session } = scripted(word, { ms: 1 });
    const first = session.generate(prompt);
    await first.next();
    const busy = expect.objectContaining({ code: 'BUSY', remedy: expect.stringContaining('fork') });
    await expect(session.generate([]).next()).rejects.toEqual(busy);
    await expect(session.forward([1])).rejects.toEqual(busy);
    expect(() => session.rollback(1)).toThrow(busy);
    const fork = session.fork();
    const own = session.length;
    expect(fork.length).toBe(own);
    let rest = '';
    for await (const piece of fork.generate([])) rest += piece.text;
    expect(decode([...word]).endsWith(rest)).toBe(true);
    for await (const _ of first);
    expect(session.tokens).toEqual(fork.tokens);
  });

  test.each([0, 20])('disposed of %i ms after a token, it throws DISPOSED, and so does all after', async (ms) => {
    const { session, executor, kv, engine } = scripted(word, { ms: 1 });
    const iterator = session.generate(prompt);
    await iterator.next();
    if (ms > 0) await new Promise((resolve) => setTimeout(resolve, ms)); // the next token is there, too
    session.dispose();
    session.dispose();
    const disposed = expect.objectContaining({ code: 'DISPOSED' });
    await expect(
      (async () => {
        for await (const _ of iterator);
      })(),
    ).rejects.toEqual(disposed);
    await engine.idle();
    expect(kv.sequences.size).toBe(0);
    expect(executor.samplers).toBe(0);
    for (const call of [() => session.generate('x'), () => session.fork(), () => session.rollback(0)])
      expect(call).toThrow(disposed);
    await expect(session.forward([1])).rejects.toEqual(disposed);
    await expect(session.save('/nowhere/x')).rejects.toEqual(disposed);
  });
});
