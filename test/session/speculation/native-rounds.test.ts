// Drafts inside of native runs: the text of rounds that return to JavaScript, whoever joins, aborts or forks meanwhile.
import { setTimeout as sleep } from 'node:timers/promises';
import { join, dirname } from 'node:path';
import {
  draftModel,
  draftTree,
  eagle,
  embeddedModelPath,
  inputCopy,
  loadModel,
  lookahead,
  medusa,
  nGram,
  suffix,
} from '../../../lib/index.js';
import type { Drafter, GenerateOptions, GenerateResult, Model, Session } from '../../../lib/index.js';
import { answer, smallModelPath } from './setting.js';

let model: Model;
let small: Model;
const heads: Record<string, ReturnType<typeof eagle>> = {};
beforeAll(async () => {
  model = await loadModel(embeddedModelPath(), { threads: 1 });
  small = await loadModel(smallModelPath, { threads: 1 });
  const place = (name: string): string => join(dirname(embeddedModelPath()), `vivace-tiny-${name}`);
  heads['eagle'] = eagle(model, place('eagle'));
  heads['eagle-3'] = eagle(model, place('eagle3'), { minProbability: 0, temperature: 0.8 });
  heads['medusa'] = medusa(model, place('medusa'));
});
afterAll(() => [...Object.values(heads), model, small].forEach((one) => one.dispose()));

/** The same, asked by JavaScript in every round. */
function asked(drafter: Drafter): Drafter {
  return {
    name: drafter.name,
    start(context) {
      const own = drafter.start(context);
      return {
        ...(own.taps ? { taps: own.taps } : {}),
        accept: (tokens) => own.accept(tokens),
        draft: (most, nodes, cycle) => own.draft(most, nodes, cycle),
        ...(own.probed ? { probed: (tokens) => own.probed?.(tokens) } : {}),
        finish: (output) => own.finish?.(output),
        dispose: () => own.dispose(),
      };
    },
  };
}

const makers: Record<string, () => Drafter> = {
  'n-gram': () => nGram(),
  suffix: () => suffix(),
  'input-copy': () => inputCopy(),
  lookahead: () => lookahead({ n: 4, window: 4 }),
  'draft-model': () => draftModel(small),
  'draft-tree': () => draftTree(small),
  'unsure draft-model': () => draftModel(small, { minProbability: 0, temperature: 1.3 }),
  eagle: () => heads['eagle'],
  'eagle-3': () => heads['eagle-3'],
  medusa: () => heads['medusa'],
};
const names = Object.keys(makers);
const loose: GenerateOptions = { temperature: 1, topK: 0, topP: 1, minP: 0 };

const ways: [string, GenerateOptions, 'lossless' | 'block'][] = [
  ['greedy', { temperature: 0, seed: 3 }, 'lossless'],
  ['sampled', { ...loose, seed: 4 }, 'lossless'],
  ['sampled, blocks', { ...loose, seed: 4 }, 'block'],
  ['penalties', { temperature: 0.9, seed: 5, repetitionPenalty: 1.2, frequencyPenalty: 0.3, topP: 0.9 }, 'lossless'],
];
/** Builds with sanitizers take ten times as long. */
const slow = (process.env['LD_PRELOAD'] ?? '').includes('asan');
const isModel = (name: string): boolean => !['n-gram', 'suffix', 'input-copy'].includes(name);
test.each(names.flatMap((name) => ways.slice(isModel(name) ? 0 : 3).map((way) => [name, ...way] as const)))(
  '%s, %s: rounds are those that JavaScript asks for',
  async (name, _, options, verifier) => {
    const sizes = isModel(name)
      ? [
          [1, 1],
          [6, 6],
          [4, 18],
        ]
      : [
          [6, 6],
          [3, 12],
        ]; // chains and trees
    for (const [maxDraft, maxNodes] of sizes) {
      const results: GenerateResult[] = [];
      for (const drafter of [makers[name](), asked(makers[name]())]) {
        using session = model.createSession();
        const speculation = { drafter, verifier, adaptive: false, maxDraft, maxNodes };
        // More than one run, and a second answer behind the first one.
        await answer(session, 'copy: red blue red blue\n', { ...options, maxTokens: 20, speculation });
        results.push(
          await answer(session, ' Once upon a time', {
            ...options,
            maxTokens: slow && isModel(name) ? 70 : 260,
            speculation,
          }),
        );
      }
      const [own, other] = results;
      expect(own.tokens).toEqual(other.tokens);
      const { rounds, drafted, accepted, acceptanceByPosition } = other.speculation!;
      expect(drafted).toBeGreaterThan(0);
      // JavaScript asks drafters without a model less often while they find nothing.
      if (!isModel(name)) continue;
      expect(own.speculation).toMatchObject({ rounds, drafted, accepted, acceptanceByPosition });
    }
    expect(small.memoryUsage().kv).toBe(0);
  },
);

test('who is alone has its first draft made inside of a run, too', async () => {
  const outside: jest.SpyInstance[] = [];
  const watched = (drafter: Drafter): Drafter => ({
    name: drafter.name,
    start(context) {
      const own = drafter.start(context);
      outside.push(jest.spyOn(own, 'draft'));
      return own;
    },
  });
  const say = async (): Promise<GenerateResult> => {
    using session = model.createSession();
    return await answer(session, 'One day Ben', {
      temperature: 0,
      maxTokens: 30,
      ...speculation(watched(draftModel(small))),
    });
  };
  const { tokens } = await say();
  expect(outside.map((calls) => calls.mock.calls.length)).toEqual([0]);
  for (const other of await Promise.all([say(), say()])) expect(other.tokens).toEqual(tokens);
  expect(outside.slice(1).some((calls) => calls.mock.calls.length > 0)).toBe(true);
});

interface Visit {
  readonly drafter: Drafter;
  readonly options: GenerateOptions;
  readonly prompt: string;
}

const visits = (): Visit[] =>
  [...names, ...names].map((name, i) => ({
    drafter: makers[name](),
    prompt: ['Once upon a time', 'sort: 5 3 9 1 5 3', 'One day Ben'][i % 3].repeat(1 + (i % 2)),
    options: {
      ...(i % 3 === 0 ? { temperature: 0 } : { ...loose, seed: i }),
      maxTokens: 60 + 17 * i,
    },
  }));

const speculation = (drafter: Drafter): Pick<GenerateOptions, 'speculation'> => ({
  speculation: { drafter, adaptive: false, maxDraft: 5 },
});

test('sequences join and leave runs, each as if alone', async () => {
  const alone: number[][] = [];
  for (const { drafter, options, prompt } of visits()) {
    using session = model.createSession();
    alone.push([...(await answer(session, prompt, { ...options, ...speculation(drafter) })).tokens]);
  }
  const together = await Promise.all(
    visits().map(async ({ drafter, options, prompt }, i) => {
      await sleep(3 * (i % 5));
      using session = model.createSession();
      return (await answer(session, prompt, { ...options, ...speculation(drafter) })).tokens;
    }),
  );
  expect(together).toEqual(alone);
  expect(small.memoryUsage().kv).toBe(0);
});

test('a prompt that is read in pieces has the drawn answers of one that is not', async () => {
  // Of a fresh model the first round has 64 rows at most; later ones have what it is known to do in time.
  using fresh = await loadModel(embeddedModelPath(), { threads: 1, prefixCache: false });
  const directory = join(dirname(embeddedModelPath()), 'vivace-tiny-');
  using drafter = medusa(fresh, `${directory}medusa`);
  const prompt = 'sort: 5 3 9 1 5 3\n'.repeat(6);
  const answers: GenerateResult[] = [];
  for (let time = 0; time < 3; time++) {
    using session = fresh.createSession();
    answers.push(await answer(session, prompt, { ...loose, seed: 7, maxTokens: 60, ...speculation(drafter) }));
  }
  expect(answers[0].usage.promptTokens).toBeGreaterThan(64);
  for (const { tokens } of answers) expect(tokens).toEqual(answers[0].tokens);
});

async function pieces(session: Session, prompt: string, options: GenerateOptions, count: number): Promise<void> {
  const running = session.generate(prompt, options);
  for (let seen = 0; seen < count; seen++) await running.next();
  await running.return(undefined as never);
}

test.each(names)('%s: an abort, a fork and a rollback leave what was said, and nothing else', async (name) => {
  const greedy: GenerateOptions = { temperature: 0, maxTokens: 200 };
  using plain = model.createSession();
  const whole = await answer(plain, 'Once upon a time', greedy);
  for (const stop of [1, 2, 7, 40]) {
    using session = model.createSession();
    const controller = new AbortController();
    const options = { ...greedy, ...speculation(makers[name]()) };
    const running = session.generate('Once upon a time', { ...options, signal: controller.signal });
    for (let seen = 0; seen < stop; seen++) await running.next();
    controller.abort();
    for (let next = await running.next(); !next.done; next = await running.next());
    const begin = session.tokens.length - plain.tokens.length + whole.tokens.length;
    expect([...session.tokens]).toEqual([...plain.tokens.subarray(0, session.tokens.length)]);
    expect(begin).toBeGreaterThanOrEqual(stop);
    using forked = session.fork();
    await pieces(forked, ' and', options, 5);
    session.rollback(1);
    const left = plain.tokens.length - session.tokens.length;
    const rest = await answer(session, new Int32Array(), { ...options, maxTokens: left });
    expect([...session.tokens]).toEqual([...plain.tokens]);
    expect(rest.speculation!.rounds).toBeLessThanOrEqual(left);
    using twin = model.createSession();
    await answer(twin, forked.tokens, { temperature: 0, maxTokens: 30 });
    await answer(forked, new Int32Array(), { ...options, maxTokens: 30 });
    expect([...forked.tokens]).toEqual([...twin.tokens]);
  }
  expect(small.memoryUsage().kv).toBe(0);
});

test('models that draft for each other, and one that drafts for two: all of them go on', async () => {
  using third = await loadModel(embeddedModelPath(), { threads: 2 });
  const greedy: GenerateOptions = { temperature: 0, maxTokens: 120 };
  const of = async (target: Model, options: GenerateOptions): Promise<readonly number[]> => {
    using session = target.createSession();
    return (await answer(session, 'One day Ben', options)).tokens;
  };
  const plain = new Map<Model, readonly number[]>();
  for (const target of [model, small, third]) plain.set(target, await of(target, greedy));
  const pairs: [Model, Model][] = [
    [model, small],
    [small, model],
    [third, small],
    [model, model],
    [model, third],
    [third, model],
  ];
  const results = await Promise.all(
    [...pairs, ...pairs].map(([target, drafts]) => of(target, { ...greedy, ...speculation(draftModel(drafts)) })),
  );
  results.forEach((tokens, i) => expect(tokens).toEqual(plain.get(pairs[i % pairs.length][0])));
  for (const one of [model, small, third]) expect(one.memoryUsage().kv).toBe(0);
});

test('a session or a draft model that goes in the middle of a run', async () => {
  const bans = new Map([...model.tokenizer.endOfGeneration].map((token) => [token, -Infinity] as const));
  const greedy: GenerateOptions = { temperature: 0, maxTokens: 500, logitBias: bans };
  const session = model.createSession();
  const running = session.generate('One day Ben', { ...greedy, ...speculation(draftModel(small)) });
  for (let seen = 0; seen < 9; seen++) await running.next();
  session.dispose();
  await expect(running.next()).rejects.toMatchObject({ code: 'DISPOSED' });
  expect(small.memoryUsage().kv).toBe(0);
  expect(model.memoryUsage().kv).toBe(0);
  const gone = await loadModel(smallModelPath, { threads: 1 });
  using other = model.createSession();
  const drafted = other.generate('One day Ben', { ...greedy, ...speculation(draftModel(gone)) });
  for (let seen = 0; seen < 9; seen++) await drafted.next();
  gone.dispose();
  const failing = (async () => {
    for (let next = await drafted.next(); !next.done; next = await drafted.next());
  })();
  await expect(failing).rejects.toMatchObject({ code: 'DISPOSED' });
  // What was said stays, and the session goes on.
  expect(
    (await answer(other, new Int32Array(), { temperature: 0, maxTokens: 5, logitBias: bans })).tokens,
  ).toHaveLength(5);
});
