// The reflective verifier in sessions: weight 0 changes nothing, nothing of a second reading stays, mistakes are named.
import { embeddedModelPath, loadModel } from '../../../lib/index.js';
import type { GenerateOptions, GenerateResult, Model } from '../../../lib/index.js';
import type { Drafter } from '../../../lib/decode/speculation/drafter.js';
import { nGram } from '../../../lib/decode/speculation/drafters/policies.js';
import { defaultPrompt } from '../../../lib/decode/speculation/reflective/options.js';
import { modelOn } from '../../fixtures/model-on.js';
import { Generator } from '../../fixtures/random/generator.js';
import { testDevices } from '../../ops/executors.js';

/** Knows an answer; says something else for a third of its tokens, and beside each token something else, too. */
function nearly(answer: readonly number[], wide: boolean): Drafter {
  return {
    name: 'nearly',
    start() {
      const random = new Generator(4, 'nearly');
      let length = -1;
      return {
        accept: (tokens) => (length = length < 0 ? 0 : length + tokens.length),
        draft(maxTokens) {
          const tokens: number[] = [];
          const parents: number[] = [];
          for (let depth = 0, at = -1; depth < Math.min(maxTokens, 4) && length + depth < answer.length; depth++) {
            const right = answer[length + depth];
            const said = random.integer(0, 2) === 0 ? (right + 3) % 200 : right;
            for (const token of wide ? [(said + 1) % 200, said] : [said]) {
              tokens.push(token);
              parents.push(at);
            }
            at = tokens.length - 1;
          }
          const scores = Float32Array.from(tokens, (_, node) => 0.9 ** (node + 1));
          return { tokens: Int32Array.from(tokens), parents: Int32Array.from(parents), scores };
        },
        dispose: () => undefined,
      };
    },
  };
}

const prompt = 'Once upon a time';

describe.each(testDevices())('on %s', (device) => {
  const few = device !== 'cpu';
  let model: Model;
  beforeAll(async () => {
    model = await modelOn(device);
  });
  afterAll(() => model.dispose());

  async function generate(options: GenerateOptions) {
    const session = model.createSession();
    const pieces = session.generate(prompt, options);
    let next = await pieces.next();
    const logprobs: unknown[] = [];
    for (; !next.done; next = await pieces.next()) logprobs.push(...(next.value.logprobs ?? []));
    const after = await session.forward(Int32Array.of(5, 6));
    const used = model.memoryUsage().kv;
    session.dispose();
    const result: GenerateResult = next.value;
    return { result, after, logprobs, used };
  }

  test.each([
    ['greedy', { temperature: 0 }],
    ['sampled', { temperature: 0.9, seed: 7, repetitionPenalty: 1.1, frequencyPenalty: 0.3 }],
  ] as const)('%s: weight 0 is the base rule to the last bit, and leaves no trace', async (_, sampling) => {
    const options = { ...sampling, maxTokens: few ? 10 : 200, logprobs: 1 };
    const plain = await generate(options);
    for (const wide of few ? [false] : [false, true]) {
      for (const [correctionFrom, reflectPaths] of [
        ['fused', 2],
        ['base', 1],
      ] as const) {
        const drafter = nearly(plain.result.tokens, wide);
        const verifier = { name: 'reflective', alpha: 0, correctionFrom, reflectPaths, autoSkip: false } as const;
        const shape = { maxDraft: 4, maxNodes: wide ? 12 : 4, adaptive: false };
        const other = await generate({ ...options, speculation: { drafter, verifier, ...shape } });
        expect(other.result.tokens).toEqual(plain.result.tokens);
        // A card draws plain tokens, the host those of a second reading: their logprobs are rounded differently.
        if (!few) expect(other.logprobs).toEqual(plain.logprobs);
        expect(other.after).toEqual(plain.after); // the cache
        expect(other.used).toBe(plain.used);
        expect(other.result.speculation!.reflection!.rounds).toBeGreaterThan(few ? 1 : 10);
        expect(other.result.speculation!.reflection!.topChanged).toBe(0);
      }
    }
  });

  if (few) return; // the same for every device: what stays in a cache is the engine's doing

  test('after a thousand drafts that were read twice the cache is that of the text alone', async () => {
    const words = model.tokenizer.encode('red blue ', { addSpecial: false });
    const verifier = { name: 'reflective', alpha: 0.3, prompt: words, anchorTokens: 2, autoSkip: false } as const;
    const known = await generate({ temperature: 0, maxTokens: 120 });
    let rounds = 0;
    let changed = 0;
    for (let seed = 0; rounds < 1000; seed++) {
      const session = model.createSession();
      const speculation = { drafter: nearly(known.result.tokens, seed % 2 === 0), verifier, maxDraft: 4, maxNodes: 10 };
      const options = { temperature: 0.5, seed, maxTokens: 200, speculation: { ...speculation, adaptive: false } };
      const pieces = session.generate(prompt, options);
      let next = await pieces.next();
      while (!next.done) next = await pieces.next();
      rounds += next.value.speculation!.reflection!.rounds;
      changed += next.value.speculation!.reflection!.topChanged;
      const after = await session.forward(Int32Array.of(9));
      const fresh = model.createSession();
      const all = await fresh.forward([...session.tokens.slice(0, -1), 9]);
      expect(after).toEqual(all.slice(-after.length));
      fresh.dispose();
      session.dispose();
    }
    expect(changed).toBeGreaterThan(10);
    const probe = model.createSession();
    expect(model.memoryUsage().kv).toBe(0);
    probe.dispose();
  }, 600_000);

  test('requests and copies are told to nobody: not to the drafter, not to other prompts, not to the reader', async () => {
    const words = model.tokenizer.encode(' lamp tiger lamp', { addSpecial: false });
    const known = await generate({ temperature: 0, maxTokens: 120 });
    const heard: number[][] = [];
    const inner = nearly(known.result.tokens, false);
    const drafter: Drafter = {
      name: 'hears',
      start(context) {
        const own = inner.start(context);
        return { ...own, accept: (tokens) => (heard.push([...tokens]), own.accept(tokens)) };
      },
    };
    const verifier = { name: 'reflective', alpha: 0.3, prompt: words, anchorTokens: 2, autoSkip: false } as const;
    // The model itself may not say the request's words, so that they are seen wherever they come from.
    const logitBias = Object.fromEntries([...words].map((word) => [word, -Infinity]));
    const options = { temperature: 0, maxTokens: 100, frequencyPenalty: 0.1, logitBias } as const;
    const session = model.createSession();
    const speculation = { drafter, verifier, maxDraft: 4, adaptive: false } as const;
    const pieces = session.generate(prompt, { ...options, speculation });
    let shown = '';
    let next = await pieces.next();
    for (; !next.done; next = await pieces.next()) shown += next.value.text;
    const { tokens, speculation: went, usage } = next.value;
    expect(went!.reflection!.rounds).toBeGreaterThan(10);
    const said = session.tokens;
    expect([...said.subarray(usage.promptTokens)]).toEqual([...tokens]);
    expect(shown).not.toMatch(/lamp|tiger/);
    // The last round's tokens are of use to nobody any more, and what ends an answer is not in the text.
    const told = heard.flat().filter((token) => !model.tokenizer.endOfGeneration.has(token));
    expect([...said].slice(0, told.length)).toEqual(told);
    expect(told.length).toBeGreaterThan(said.length - 8);
    // Pages that others may take over end with the text that was said.
    session.dispose();
    const other = model.createSession();
    const longer = [...said, ...words, ...said.slice(-4)];
    const again = other.generate(longer, { temperature: 0, maxTokens: 1 });
    let last = await again.next();
    while (!last.done) last = await again.next();
    expect(last.value.usage.sharedTokens).toBeGreaterThan(0);
    expect(last.value.usage.sharedTokens).toBeLessThanOrEqual(said.length);
    const after = await other.forward([7]);
    const fresh = model.createSession({});
    const all = await fresh.forward([...other.tokens]);
    expect(after).toEqual(all.slice(-after.length));
    other.dispose();
    fresh.dispose();
  });

  test('where it does not pay it is left out, near the end of the context, too', async () => {
    const speculation = { drafter: nGram(), verifier: { name: 'reflective', probeEvery: 8 }, adaptive: false } as const;
    const { result } = await generate({ temperature: 0, maxTokens: 300, speculation });
    const { reflection, draftedRounds } = result.speculation!;
    expect(reflection!.rounds).toBeLessThan(draftedRounds);
    const small = await loadModel(embeddedModelPath(), { threads: 1, contextLength: 48 });
    const session = small.createSession();
    const pieces = session.generate(prompt, {
      temperature: 0,
      speculation: {
        drafter: nearly(result.tokens, false),
        verifier: { name: 'reflective', autoSkip: false },
        adaptive: false,
      },
    });
    let next = await pieces.next();
    while (!next.done) next = await pieces.next();
    expect(next.value.finishReason).toBe('length');
    expect(session.length).toBe(48);
    small.dispose();
  });

  test('mistakes are named', async () => {
    const play = (verifier: Record<string, unknown>): Promise<unknown> =>
      generate({
        maxTokens: 2,
        speculation: { drafter: nGram(), verifier: { name: 'reflective', ...verifier } as never },
      });
    const special = [...model.tokenizer.endOfGeneration][0];
    const wrong: [Record<string, unknown>, RegExp][] = [
      [{ alpha: 1.5 }, /alpha/],
      [{ alpha: NaN }, /alpha/],
      [{ alpha: 0.7 }, /0 to 0\.5/],
      [{ prompt: '' }, /prompt/],
      [{ prompt: Array(65).fill(5) }, /65 tokens/],
      [{ prompt: [special] }, /special/],
      [{ prompt: [1e9] }, /token ids/],
      [{ anchorTokens: 17 }, /anchorTokens/],
      [{ correctionFrom: 'both' }, /correctionFrom/],
      [{ beta: 1 }, /beta/],
      [{ rule: { name: 'reflective' } }, /verifier/],
      [{ entropyGate: 2 }, /entropyGate/],
    ];
    for (const [change, message] of wrong) {
      await expect(play(change)).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
        message: expect.stringMatching(message) as string,
      });
    }
    await expect(play({ alpha: 0.7, force: true })).resolves.toBeDefined();
    expect(model.tokenizer.encode(defaultPrompt, { addSpecial: false }).length).toBeLessThanOrEqual(64);
  });
});
