// Any drafter with any verifier, way of drawing, shape of drafts and life of a session: as without drafts, or refused.
//
// Two sessions live the same life, one with drafts. Where the text must be the plain one, it is compared; elsewhere (lossy
// verifiers and drawn drafts at a temperature) the same seed has to give the same text twice, whatever the other sessions do. After
// every step both sessions know the same tokens, in the end their logits are equal to the bit, and no
// memory is left. Up to three such lives go on at once, in caches of any kind, some with a context that they fill.
// Each option of a drafter and a verifier has a life (variants.ts, which does not compile until it has all that the API has);
// VIVACE_LIVES=n takes so many times as many. On a card 3 short lives of tiny models, as emulation is slow.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { drafterNames } from '../../../lib/cli/speculation/options.js';
import { verifierNames } from '../../../lib/cli/speculation/verifiers.js';
import { tokenMask, VivaceError } from '../../../lib/index.js';
import type {
  Constraint,
  GenerateOptions,
  GenerateResult,
  JudgeHead,
  Session,
  SessionOptions,
  SpeculationOptions,
  Verifier,
} from '../../../lib/index.js';
import { testDevices } from '../../ops/executors.js';
import { prompts, setUpOn, type Setting } from './setting.js';
import { verifierVariants, type DrafterVariant, type Shapes, type VerifierVariant } from './variants.js';

let setting: Setting;
const folder = mkdtempSync(join(tmpdir(), 'vivace-lives-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** It likes every second token. */
const headOf = (width: number): JudgeHead => ({
  weights: Float32Array.from({ length: width }, (_, i) => Math.sin(1 + 3 * i)),
  bias: 0,
  threshold: 0.5,
  thresholds: [],
  kind: 'judge',
  target: 'vivace-tiny',
  targetHash: '',
});

/** Two thirds of the tokens, which ones depends on what was said. */
const alternatingOf = (vocab: number): Constraint<number> => {
  const tokens = Array.from({ length: vocab }, (_, token) => token);
  const masks = [0, 1].map((rest) =>
    tokenMask(
      vocab,
      tokens.filter((token) => token % 3 !== rest),
    ),
  );
  return {
    start: 0,
    allowed: (sum) => masks[sum % 2],
    advance: (sum, token) => sum + token,
  };
};

const seed = fc.nat(1000);
type Sampling = Exclude<keyof GenerateOptions, 'speculation' | 'signal' | 'maxTokens'>;

/** Each option of a generation, beside others. */
const samplingOf = (vocab: number): fc.Arbitrary<GenerateOptions> => {
  const whole = { topK: fc.constant(0), topP: fc.constant(1), minP: fc.constant(0) };
  const samplings: { readonly [K in Sampling]-?: fc.Arbitrary<GenerateOptions> } = {
    temperature: fc.constant({ temperature: 0 }),
    seed: fc.record({ temperature: fc.constant(0.8), seed }),
    topK: fc.record({ temperature: fc.constant(1), topK: fc.constant(3), seed }),
    topP: fc.record({ temperature: fc.constant(1), topP: fc.constant(0.5), seed }),
    minP: fc.record({ temperature: fc.constant(1.2), ...whole, seed }),
    typicalP: fc.record({ temperature: fc.constant(0.7), typicalP: fc.constant(0.8), seed }),
    repetitionPenalty: fc.record({ temperature: fc.constantFrom(0, 1), repetitionPenalty: fc.constant(1.3), seed }),
    presencePenalty: fc.record({ temperature: fc.constant(0.7), presencePenalty: fc.constant(0.6), seed }),
    frequencyPenalty: fc.record({ temperature: fc.constant(0), frequencyPenalty: fc.constant(0.2) }),
    logprobs: fc.record({ temperature: fc.constantFrom(0, 1), logprobs: fc.constant(2), seed }),
    stop: fc.record({ temperature: fc.constantFrom(0, 1), stop: fc.constantFrom('e', [' the', ','], '1'), seed }),
    prefixCache: fc.record({ temperature: fc.constantFrom(0, 1), prefixCache: fc.constant(false), seed }),
    logitBias: fc.record({
      temperature: fc.constantFrom(0, 1),
      logitBias: fc.constant({ 46: -Infinity, 32: -Infinity, 44: 1 }),
      seed,
    }),
    constraint: fc.record({
      temperature: fc.constantFrom(0, 1),
      constraint: fc.constant<Constraint<number>>(alternatingOf(vocab)),
      seed,
    }),
  };
  return fc.oneof(...Object.values(samplings));
};

const shapeOf = (few: boolean) => {
  const shape: Shapes<fc.Arbitrary<unknown>> = {
    maxDraft: fc.integer({ min: 0, max: few ? 4 : 8 }),
    maxNodes: few ? fc.constantFrom(0, 6) : fc.constantFrom(0, 1, 7, 24),
    adaptive: few ? fc.constant(false) : fc.boolean(),
  };
  return fc.record(shape, { requiredKeys: ['maxDraft', 'adaptive'] }) as fc.Arbitrary<Life['shape']>;
};

type Step =
  | { do: 'generate' | 'leave' | 'abort' | 'fork inside'; count: number; text: string }
  | { do: 'rollback' | 'forward' | 'replace'; count: number }
  | { do: 'fork' | 'save' | 'fill' };
// On a card no 32 rows are read at once: their last bits are others than those of fewer.
const stepOf = (few: boolean): fc.Arbitrary<Step> => {
  const count = fc.integer({ min: 1, max: few ? 6 : 14 });
  return fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constantFrom('generate', 'leave', 'abort', 'fork inside'),
        count,
        text: few
          ? fc.constantFrom('', ' and', '; 3+4=')
          : fc.constantFrom('', ' and', ' k12→', '; 3+4=', 'sort: 5 3 9 →'),
      }),
    },
    { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('rollback', 'forward', 'replace'), count }) },
    {
      weight: 1,
      arbitrary: fc.record({ do: few ? fc.constantFrom('fork', 'save') : fc.constantFrom('fork', 'save', 'fill') }),
    },
  );
};

const storages = (['q4_0', 'q8_0'] as const).map((type) => ({ keyType: type, valueType: type }));

const roomOf = (few: boolean): fc.Arbitrary<SessionOptions> =>
  fc.record({
    contextLength: few ? fc.constantFrom(60, 256) : fc.constantFrom(90, 1024),
    cache: fc.constantFrom({}, ...storages, { pageSize: 16 }),
  });

interface Life {
  drafter: DrafterVariant;
  room: SessionOptions;
  judged: VerifierVariant;
  options: GenerateOptions;
  shape: Omit<SpeculationOptions, 'drafter' | 'verifier'>;
  prompt: string;
  steps: Step[];
}

/** Generates and leaves, aborts or forks when `after` pieces were seen. */
async function generate(
  session: Session,
  text: string,
  options: GenerateOptions,
  act?: { kind: 'leave' | 'abort' | 'fork inside'; after: number },
): Promise<{ result: GenerateResult; forked?: Session }> {
  const controller = new AbortController();
  const pieces = session.generate(text, { ...options, signal: controller.signal });
  let forked: Session | undefined;
  for (let seen = 0; ; seen++) {
    if (act && seen === act.after) {
      if (act.kind === 'leave') {
        await pieces.return(undefined as never);
        return { result: session.lastResult! };
      }
      if (act.kind === 'abort') controller.abort();
      else forked = session.fork();
    }
    const next = await pieces.next();
    if (next.done) return { result: next.value, ...(forked ? { forked } : {}) };
  }
}

/** Brings a session to these tokens. */
async function bring(session: Session, tokens: Int32Array): Promise<void> {
  const own = session.tokens;
  let same = 0;
  while (same < own.length && same < tokens.length && own[same] === tokens[same]) same++;
  session.rollback(own.length - same);
  await session.forward(tokens.subarray(same));
}

let saved = 0;

class Pair {
  plain: Session;
  drafted: Session;
  tried = 0;
  refused = 0;

  constructor(
    readonly life: Life,
    private readonly speculation: SpeculationOptions,
  ) {
    this.plain = setting.model.createSession(life.room);
    this.drafted = setting.model.createSession(life.room);
  }

  /** The text is the plain one, token for token. */
  private get same(): boolean {
    const { drafter, judged, options } = this.life;
    if (options.temperature === 0) return judged.changes !== 'any';
    return judged.changes === undefined && (judged.verifier === 'match' || !drafter.draws);
  }

  /** A seed gives its text again. */
  private get steady(): boolean {
    const { drafter, judged } = this.life;
    return this.same || !(drafter.learns || judged.timed === true);
  }

  async generate(text: string, maxTokens: number | undefined, act?: Parameters<typeof generate>[3]): Promise<void> {
    const options = { ...this.life.options, ...(maxTokens === undefined ? {} : { maxTokens }) };
    const before = this.drafted.tokens;
    const { speculation } = this;
    const reference = this.same ? this.plain : this.drafted.fork();
    const expected = await generate(reference, text, this.same ? options : { ...options, speculation }).catch(refusal);
    if (reference !== this.plain) reference.dispose();
    const got = await generate(this.drafted, text, { ...options, speculation }, act).catch(refusal);
    if (got instanceof VivaceError) {
      if (got.code === 'CONTEXT_FULL') expect(expected).toMatchObject({ code: 'CONTEXT_FULL' });
      // Refused: nothing happened, and the session goes on without drafts.
      this.refused++;
      expect(this.drafted.tokens).toEqual(before);
      await bring(this.plain, before);
      return;
    }
    if (expected instanceof VivaceError) throw expected;
    const { result, forked } = got;
    this.tried += result.speculation?.drafted ?? 0;
    const said = [...result.tokens];
    if (this.steady) expect(said).toEqual(expected.result.tokens.slice(0, said.length));
    if (this.steady && act?.kind !== 'leave' && act?.kind !== 'abort') {
      expect(said).toHaveLength(expected.result.tokens.length);
      expect([result.text, result.finishReason]).toEqual([expected.result.text, expected.result.finishReason]);
    }
    const now = this.drafted.tokens;
    if (said.length > 0 || result.finishReason !== 'abort') {
      expect([...now.subarray(now.length - said.length)]).toEqual(said);
      expect(said.length).toBeLessThanOrEqual(maxTokens ?? this.drafted.contextLength);
      for (const token of said) expect(banned(options, token)).toBe(false);
    } else expect(now).toEqual(before);
    if (forked) {
      // It has what had been said then; the life goes on in it.
      expect(now.subarray(0, forked.length)).toEqual(forked.tokens);
      this.drafted.dispose();
      this.drafted = forked;
    }
    await bring(this.plain, this.drafted.tokens);
  }

  async step(step: Step): Promise<void> {
    const both = [this.plain, this.drafted];
    switch (step.do) {
      case 'generate':
        return this.generate(step.text, step.count);
      case 'leave':
      case 'abort':
      case 'fork inside':
        return this.generate(step.text, step.count + 6, { kind: step.do, after: Math.ceil(step.count / 3) });
      case 'rollback':
        return both.forEach((session) => session.rollback(Math.min(step.count, session.length)));
      case 'fill':
        if (this.drafted.contextLength < 200) await this.generate('', undefined);
        return;
      case 'forward': {
        if (this.drafted.length + step.count > this.drafted.contextLength) return;
        const tokens = Int32Array.from({ length: step.count }, (_, i) => 40 + 7 * i);
        const [a, b] = await Promise.all(both.map((session) => session.forward(tokens)));
        return expect(difference(a, b)).toBe(-1);
      }
      case 'replace': {
        const begin = this.drafted.tokens.slice(0, Math.max(1, this.drafted.length - step.count));
        await bring(this.drafted, begin);
        return bring(this.plain, begin);
      }
      case 'fork': {
        const forks = both.map((session) => session.fork());
        both.forEach((session) => session.dispose());
        [this.plain, this.drafted] = forks;
        return;
      }
      case 'save': {
        const file = join(folder, `session-${saved++}.bin`);
        await this.drafted.save(file);
        this.drafted.dispose();
        this.drafted = await setting.model.restoreSession(file);
      }
    }
  }

  async end(): Promise<void> {
    for (const session of [this.plain, this.drafted]) {
      session.rollback(Math.max(0, session.length + 2 - session.contextLength));
    }
    const [a, b] = await Promise.all([this.plain, this.drafted].map((session) => session.forward([65, 66])));
    expect(difference(a, b)).toBe(-1);
    expect(this.drafted.tokens).toEqual(this.plain.tokens);
  }

  dispose(): void {
    this.plain.dispose();
    this.drafted.dispose();
  }
}

/** Where two rows of logits differ first, or −1. */
const difference = (a: Float32Array, b: Float32Array): number => a.findIndex((value, i) => !Object.is(value, b[i]));

const banned = ({ logitBias }: GenerateOptions, token: number): boolean =>
  (logitBias as Record<number, number> | undefined)?.[token] === -Infinity;

/** Only what says that a combination cannot be had counts as refused. */
function refusal(error: unknown): VivaceError {
  if (error instanceof VivaceError && ['INVALID_ARGUMENT', 'UNSUPPORTED_FEATURE', 'CONTEXT_FULL'].includes(error.code))
    return error;
  throw error;
}

const labelOf = (verifier: Verifier): string =>
  JSON.stringify(verifier, (key, value: unknown) => (key === 'head' ? 'head' : value));

const lives = Number(process.env['VIVACE_LIVES'] ?? 1);

describe.each(testDevices())('on %s', (device) => {
  const few = device !== 'cpu';
  beforeAll(async () => {
    setting = await setUpOn(device, prompts(8));
  });
  afterAll(() => setting.dispose());

  test('every drafter and every verifier that has a name on the command line is here', () => {
    const drafters = new Set(setting.names.map((name) => setting.make(name).name));
    expect(drafterNames.filter((name) => !drafters.has(name))).toEqual([]);
    const judged = verifierVariants(headOf(8)).map(({ verifier }) => verifier);
    const verifiers: string[] = judged.map((one) => (typeof one === 'string' ? one : one.name));
    expect(verifierNames.filter((name) => !verifiers.includes(name))).toEqual([]);
  });

  test('sessions with drafts live as those without', async () => {
    const tried = new Map<string, number>(); // drafters and verifiers
    const count = (name: string, more: number): void => void tried.set(name, (tried.get(name) ?? 0) + more);
    const live = async (life: Life): Promise<void> => {
      const pair = new Pair(life, { drafter: life.drafter.make(), verifier: life.judged.verifier, ...life.shape });
      try {
        await pair.generate(life.prompt, few ? 6 : 10);
        for (const one of life.steps) await pair.step(one);
        await pair.end();
      } finally {
        pair.dispose();
      }
      // Times decide what an adaptive planner leaves of drafts.
      const sure = life.shape.adaptive === false ? pair.tried + pair.refused : 0;
      count(life.drafter.name, sure);
      count(labelOf(life.judged.verifier), sure);
    };
    const { model } = setting;
    const verifiers = verifierVariants(headOf(model.hiddenWidth()), few ? [40, 50, 60] : undefined);
    const plain = setting.names.map((name): DrafterVariant => ({
      name,
      make: () => setting.make(name),
      draws: setting.draws(name),
      learns: false,
    }));
    const drafters = [...plain, ...setting.variants];
    const life: fc.Arbitrary<Life> = fc.record({
      drafter: fc.constantFrom(...drafters),
      room: roomOf(few),
      judged: fc.constantFrom(...verifiers),
      options: samplingOf(model.tokenizer.vocabSize),
      shape: shapeOf(few),
      prompt: fc.constantFrom(...(few ? ['Once upon', 'red red red', ''] : prompts(12))),
      steps: fc.array(stepOf(few), { minLength: 1, maxLength: few ? 3 : 6 }),
    });
    // Each drafter in turn, and each verifier, is that of one of the lives that go on at once; on a card any.
    const firstOf = (drafter: DrafterVariant, place: number): fc.Arbitrary<Life> => {
      const judged = verifiers[place % verifiers.length];
      return life.map((one) => {
        const shape = { ...one.shape, adaptive: false, maxDraft: Math.max(2, one.shape.maxDraft ?? 0) };
        // A text in which there is something to draft for everybody.
        const again: Step = { do: 'generate', count: 10, text: ' red dog red dog red dog red' };
        return { ...one, drafter, judged, shape, steps: [again, ...one.steps] };
      });
    };
    const firsts = few ? [life] : drafters.map(firstOf);
    for (const [place, own] of firsts.entries()) {
      await fc.assert(
        fc.asyncProperty(own, fc.array(life, { maxLength: 1 }), async (first, others) => {
          const ends = await Promise.allSettled([first, ...others].map(live));
          for (const end of ends) if (end.status === 'rejected') throw end.reason;
          expect(setting.isEmpty()).toBe(true);
        }),
        { numRuns: few ? 3 * lives : lives, seed: 5 + place },
      );
    }
    // None was only looked at.
    const all = [...drafters.map(({ name }) => name), ...verifiers.map(({ verifier }) => labelOf(verifier))];
    if (!few) expect(all.filter((name) => !tried.get(name))).toEqual([]);
  }, 600_000);
});
