// Rounds and sessions over models that compute, on every device: what tests over scripted tokens say (engine.test.ts,
// decode.test.ts) also holds where rounds take their time, caches have pages, and cards draw.
import { Engine } from '../../lib/engine.js';
import { loadModel, type Model } from '../../lib/index.js';
import type { KvCache, SamplerOptions } from '../../lib/program/executor.js';
import { NativeExecutor } from '../../lib/program/native-executor.js';
import { plain } from '../decode/sampler-options.js';
import { Generator } from '../fixtures/random/generator.js';
import { testDevices } from '../ops/executors.js';
import { tinyModel, vocab } from '../program/tiny-model.js';

describe.each(testDevices())('on %s', (deviceName) => {
  const { program, bytes } = tinyModel(0);
  const executor = new NativeExecutor(program, bytes, { threads: 2, deviceName });
  afterAll(() => executor.dispose());
  const newKv = (maxPages = 1000): KvCache => executor.createKvCache({ pageSize: 4, maxPages });
  const sampling: SamplerOptions = { ...plain, vocab, temperature: 1, seed: 3n, presencePenalty: 0.3 };

  /** A prompt and `steps` tokens after it, each of which the engine may have worked out ahead; leaves its sequence behind. */
  async function speak(engine: Engine, kv: KvCache, prompt: readonly number[], steps: number, ahead = true) {
    const sequence = kv.create();
    const sampler = executor.createSampler(sampling);
    sampler.accept(Int32Array.from(prompt));
    const text = [...prompt];
    try {
      for (let step = 0; step < steps; step++) {
        const tokens = Int32Array.from(text.slice(kv.length(sequence)));
        const job = { kv, sequence, tokens, sampler };
        const all = ahead ? { ...job, ahead: { limit: steps - step, ends: new Int32Array(0) } } : job;
        text.push((await engine.submit(all).done)?.token ?? -1);
      }
      await engine.settle(kv, sequence);
    } finally {
      sampler.dispose();
    }
    expect(kv.length(sequence)).toBe(text.length - 1);
    return text.slice(prompt.length);
  }

  const random = new Generator(5, 'rounds');
  const speakers = Array.from({ length: 5 }, (_, index) => ({
    prompt: Array.from({ length: 1 + 6 * index }, () => random.integer(0, vocab - 1)),
    steps: random.integer(2, 8),
    cache: index % 2,
  }));

  test('sequences of two caches, in chunks of any size, say what each would say alone', async () => {
    const alone: number[][] = [];
    const caches = [newKv(), newKv()];
    for (const { prompt, steps, cache } of speakers)
      alone.push(await speak(new Engine(executor, vocab), caches[cache], prompt, steps, false));
    for (const [maxRows, sharedRows] of [
      [17, 3],
      [31, 30],
    ]) {
      const engine = new Engine(executor, vocab, { maxRows, sharedRows });
      const said = await Promise.all(
        speakers.map(({ prompt, steps, cache }, index) => speak(engine, caches[cache], prompt, steps, index % 3 > 0)),
      );
      expect(said).toEqual(alone);
    }
    for (const kv of caches) kv.dispose();
  });

  test('logits of any rows come whatever the chunks are, to the bit', async () => {
    const kv = newKv();
    const tokens = Int32Array.from({ length: 25 }, (_, i) => (7 * i) % vocab);
    const logitsOf = async (firstRow: number, maxRows: number): Promise<Float32Array> => {
      const out = new Float32Array((tokens.length - firstRow) * vocab).fill(NaN);
      const engine = new Engine(executor, vocab, { maxRows });
      const other = speak(engine, kv, [3, 4], 3); // shares the rounds
      await engine.submit({ kv, sequence: kv.create(), tokens, logits: { firstRow, out } }).done;
      await other;
      return out;
    };
    const whole = await logitsOf(0, 30);
    expect(whole.every(Number.isFinite)).toBe(true);
    for (const [firstRow, maxRows] of [
      [11, 17],
      [24, 20],
    ])
      expect(await logitsOf(firstRow, maxRows)).toEqual(whole.slice(firstRow * vocab));
    kv.dispose();
  });

  test('a job hears of the rows that stay, whatever the chunks are and what of its drafts is kept', async () => {
    const kv = newKv();
    const names = ['hidden', 'residual.1'];
    const prompt = Array.from({ length: 40 }, (_, i) => (7 * i) % vocab);
    const [answer, engine] = [
      await speak(new Engine(executor, vocab), kv, prompt, 14, false),
      new Engine(executor, vocab, { maxRows: 24 }),
    ];
    const text = Int32Array.from([...prompt, ...answer]);
    const whole = Object.fromEntries(names.map((name) => [name, new Float32Array(text.length * executor.taps[name])]));
    const fresh = kv.create();
    const places = text.map((_, place) => place);
    const sequences = new Int32Array(text.length).fill(fresh);
    await executor.run(kv, { tokens: text, positions: places, sequences, outputs: new Int32Array(), taps: whole });

    const heard = names.map((): number[] => []);
    const rounds: number[] = [];
    const taps = {
      names,
      hear(values: readonly Float32Array[], rows: number) {
        rounds.push(rows);
        values.forEach((value, index) => {
          expect(value.length).toBe(rows * executor.taps[names[index]]);
          heard[index].push(...value);
        });
      },
    };
    const sequence = kv.create();
    const sampler = executor.createSampler(sampling);
    sampler.accept(Int32Array.from(prompt));
    const other = speak(engine, kv, [3, 4], 6); // shares some of the rounds
    const said = [...prompt];
    const wrong = (token: number): number => (token + 1) % vocab;
    for (let step = 0; said.length < text.length - 1; step++) {
      const next = [...text.slice(said.length)];
      const drafts = [
        undefined,
        { tokens: [next[0], next[1], wrong(next[2])], parents: undefined },
        { tokens: [wrong(next[0]), next[0], wrong(next[1]), next[1]], parents: [-1, -1, 1, 1] },
      ];
      const draft = step === 0 || next.length < 4 ? undefined : drafts[step % 3];
      const done = await engine.submit({
        kv,
        sequence,
        tokens: Int32Array.from(said.slice(kv.length(sequence))),
        sampler,
        taps,
        ...(draft
          ? {
              draft: {
                tokens: Int32Array.from(draft.tokens),
                ...(draft.parents ? { parents: Int32Array.from(draft.parents) } : {}),
                rule: { name: 'match' as const },
                cycle: step,
              },
            }
          : {}),
      }).done;
      said.push(...[...(done?.accepted ?? []), ...(done ? [done] : [])].map(({ token }) => token));
      expect(heard[0].length / executor.taps['hidden']).toBe(kv.length(sequence));
    }
    await other;
    expect(said).toEqual([...text].slice(0, said.length));
    expect(rounds.length).toBeGreaterThan(4);
    expect(Math.max(...rounds.slice(2))).toBe(3);
    names.forEach((name, index) => {
      expect(Float32Array.from(heard[index])).toEqual(whole[name].subarray(0, heard[index].length));
    });
    sampler.dispose();
    kv.dispose();
  });

  test('open drafts of one round are cut together, and each says what it would say alone', async () => {
    const kv = newKv();
    const engine = new Engine(executor, vocab);
    const steps = 8;
    const prompts = [[3], [7, 5], [1, 2, 3]];
    const answers: number[][] = [];
    for (const prompt of prompts) answers.push(await speak(engine, kv, prompt, steps, false));
    const seats = prompts.map((prompt) => {
      const sampler = executor.createSampler(sampling);
      sampler.accept(Int32Array.from(prompt));
      return { sampler, sequence: kv.create(), said: [...prompt] };
    });
    // Right drafts, of which the first one promises much, the second one something and the third one nothing.
    const promises = [0.9, 0.5, 0.01];
    const costs = Float64Array.from({ length: 16 }, (_, n) => 3 + 0.5 * n);
    const rounds: unknown[] = [];
    for (let round = 0; round < 2; round++) {
      const cuts: number[][] = [[], [], []];
      const jobs = seats.map(({ sampler, sequence, said }, i) => {
        const ahead = answers[i].slice(said.length - prompts[i].length);
        return engine.submit({
          kv,
          sequence,
          tokens: Int32Array.from(said.slice(kv.length(sequence))),
          sampler,
          draft: {
            bid: { scores: [1, 2, 3].map((depth) => promises[i] ** depth), calibration: 1 },
            costs: (_, rows) => costs.subarray(0, 2 + rows),
            cut: (nodes) => {
              cuts[i].push(...nodes);
              if (nodes.length === 0) return undefined;
              const tokens = Int32Array.from(nodes, (node) => ahead[node]);
              return { tokens, rule: { name: 'match' }, cycle: 1 + round };
            },
          },
        }).done;
      });
      const done = await Promise.all(jobs);
      done.forEach((one, i) => seats[i].said.push(...[...(one?.accepted ?? []), one].map((each) => each?.token ?? -1)));
      rounds.push([cuts, done[2]?.load]);
    }
    // 3 tokens in 3.5 ms, with the first draft 3.9 in 4, 4.71 in 4.5, 5.44 in 5; 5.94 in 5.5 would be slower.
    const cuts = [[0, 1, 2], [], []];
    const load = { sequences: 3, tokens: 6, prompt: false };
    expect(rounds).toEqual([
      [cuts, { ...load, rows: 6 + 3, prompt: true }],
      [cuts, { ...load, rows: 6 }],
    ]);
    seats.forEach(({ said, sampler }, i) => {
      expect(said.slice(prompts[i].length)).toEqual(answers[i].slice(0, said.length - prompts[i].length));
      sampler.dispose();
    });
    kv.dispose();
  });

  test('a draft that must be verified waits for a round with room for it, also at a prompt’s end', async () => {
    const kv = newKv();
    const engine = new Engine(executor, vocab, { maxRows: 24 });
    const prompts = [[3], [7, 5], [1, 2, 3], Array.from({ length: 21 }, (_, i) => i % 9), [4]];
    for (const whole of [10, 0]) {
      const samplers = prompts.map(() => executor.createSampler(sampling));
      const sequences = prompts.map(() => kv.create());
      const done = await Promise.all(
        prompts.map((prompt, i) => {
          const tokens = Int32Array.from({ length: 10 }, (_, place) => place % 5);
          const draft = { tokens, rule: { name: 'match' } as const, cycle: 1 };
          const job = {
            kv,
            sequence: sequences[i],
            tokens: Int32Array.from(prompt),
            sampler: samplers[i],
            draft,
            whole,
          };
          return engine.submit(job).done;
        }),
      );
      const verified = done.filter((one) => one?.verified).length;
      if (whole > 0) expect(verified).toBe(5);
      else expect(verified).toBeLessThan(5);
      samplers.forEach((sampler) => sampler.dispose());
      sequences.forEach((sequence) => kv.release(sequence));
    }
    kv.dispose();
  });

  test('a sequence without room fails alone, one that is cancelled or released leaves, and pages come back', async () => {
    const kv = newKv(12);
    const engine = new Engine(executor, vocab);
    const [good, full] = await Promise.allSettled([
      speak(engine, kv, [1, 2], 5),
      speak(engine, kv, new Array<number>(60).fill(7), 2),
    ]);
    expect(full).toMatchObject({ status: 'rejected', reason: { code: 'OUT_OF_MEMORY' } });
    expect(good).toEqual({ status: 'fulfilled', value: await speak(new Engine(executor, vocab), newKv(), [1, 2], 5) });
    kv.dispose();

    const many = newKv();
    const [left, gone] = [many.create(), many.create()];
    const slow = new Engine(executor, vocab, { maxRows: 16 });
    const ticket = slow.submit({ kv: many, sequence: left, tokens: new Int32Array(400) });
    const other = slow.submit({ kv: many, sequence: gone, tokens: new Int32Array(400) });
    await new Promise((resolve) => setTimeout(resolve, 2));
    ticket.cancel();
    slow.release(many, gone);
    expect(await Promise.all([ticket.done, other.done])).toEqual([undefined, undefined]);
    await slow.idle();
    expect(many.length(left)).toBeLessThan(400);
    many.release(left);
    expect(many.usedBytes()).toBe(0);
    many.dispose();
  });

  describe('the embedded model', () => {
    let model: Model;
    beforeAll(async () => {
      model = await loadModel('default', { threads: 2, device: deviceName });
    });
    afterAll(() => model.dispose());
    const prompt = 'Once upon a time';

    test('pieces add up, an answer ends before its stop string, and can be gone on with', async () => {
      using session = model.createSession();
      const texts: string[] = [];
      for await (const { text } of session.generate(prompt, { temperature: 0, maxTokens: 8 })) texts.push(text);
      const whole = texts.join('');
      expect(session.lastResult).toMatchObject({ text: whole, finishReason: 'length' });
      const stop = whole.slice(Math.floor(whole.length / 2)).slice(0, 3);
      using again = model.createSession();
      let seen = '';
      for await (const { text } of again.generate(prompt, { temperature: 0, maxTokens: 8, stop: [stop] })) seen += text;
      expect(again.lastResult).toMatchObject({ finishReason: 'stop', stopString: stop });
      expect(seen).toBe(whole.slice(0, whole.indexOf(stop)));
      // What was said is kept, and more can be said.
      let more = '';
      for await (const { text } of again.generate([], { temperature: 0, maxTokens: 3 })) more += text;
      expect(more.length).toBeGreaterThan(0);
    });

    test('aborted, left early, or disposed of while it speaks, it keeps what was said and others go on', async () => {
      const options = { temperature: 0, maxTokens: 100 };
      using session = model.createSession();
      const controller = new AbortController();
      const iterator = session.generate(prompt, { ...options, signal: controller.signal });
      const seen: string[] = [];
      let next = await iterator.next();
      for (; !next.done; next = await iterator.next()) if (seen.push(next.value.text) === 3) controller.abort();
      expect(next.value).toMatchObject({ finishReason: 'abort', text: seen.join('') });
      expect(session.length).toBe(model.tokenizer.encode(prompt).length + next.value.tokens.length);

      using left = model.createSession();
      let text = '';
      for await (const piece of left.generate(prompt, options)) {
        text += piece.text;
        if (text.length > 4) break;
      }
      expect(left.lastResult).toMatchObject({ finishReason: 'abort', text });
      expect(seen.join('').startsWith(text) || text.startsWith(seen.join(''))).toBe(true);

      const disposed = model.createSession();
      const speaking = disposed.generate(prompt, options);
      await speaking.next();
      disposed.dispose();
      await expect(
        (async () => {
          for await (const _ of speaking);
        })(),
      ).rejects.toMatchObject({ code: 'DISPOSED' });
      let rest = '';
      for await (const piece of left.generate([], { temperature: 0, maxTokens: 1 })) rest += piece.text;
      expect(rest.length).toBeGreaterThan(0);
    });
  });
});
