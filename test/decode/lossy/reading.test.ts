// Second readings: which rows they are, what they give, what they leave behind, and when they are left out.
import { buildRequest } from '../../../lib/decode/round-request.js';
import type { JobDraft } from '../../../lib/decode/rounds.js';
import { Gate } from '../../../lib/decode/speculation/reflective/gate.js';
import { fuse } from '../../../lib/decode/speculation/reflective/fuse.js';
import { rowsOfReading, secondReading } from '../../../lib/decode/speculation/reflective/reading.js';
import type { ReadingOptions } from '../../../lib/decode/speculation/reflective/reading.js';
import { native } from '../../../lib/native.js';
import { Engine } from '../../../lib/engine.js';
import { VivaceError } from '../../../lib/errors.js';
import { FakeExecutor } from '../../session/fake-executor.js';
import { NativeExecutor } from '../../../lib/program/native-executor.js';
import { ReferenceExecutor } from '../../../lib/program/reference/executor.js';
import type { Executor, RunRequest } from '../../../lib/program/executor.js';
import { Generator } from '../../fixtures/random/generator.js';
import { tinyModel, vocab } from '../../program/tiny-model.js';
import { plain } from '../sampler-options.js';
import { entryOf } from './entry.js';
import { unit, verifyNative } from '../speculation/random-drafts.js';

const settings: ReadingOptions = {
  alpha: 0.3,
  prompt: Int32Array.of(40, 41, 42),
  anchorTokens: 0,
  correctionFrom: 'fused',
  fuseBonus: false,
  reflectPaths: 1,
};

function draftOf(
  tokens: readonly number[],
  parents: readonly number[],
  options: ReadingOptions,
  text: number[],
): JobDraft {
  const draft = {
    tokens: Int32Array.from(tokens),
    parents: Int32Array.from(parents),
    scores: Float32Array.from(tokens, (_, node) => 0.9 ** (node + 1)),
  };
  const again = secondReading(draft, options, text);
  const chain = parents.every((parent, node) => parent === node - 1);
  const { tokens: ids, parents: places } = draft;
  const tree = chain ? {} : { parents: places };
  return { tokens: ids, ...tree, rule: { name: 'match' }, cycle: 1, ...(again ? { again } : {}) };
}

/** A request as the engine makes it, for one sequence. */
function requestOf(executor: Executor, text: readonly number[], draft: JobDraft) {
  const kv = executor.createKvCache({ pageSize: 4, maxPages: 400, keyType: 'F32', valueType: 'F32' });
  const sampler = executor.createSampler({ ...plain, vocab, temperature: 0 });
  const entry = entryOf(kv, text, sampler);
  return { kv, request: buildRequest([{ entry, rows: text.length, draft }], vocab, { taps: {}, inputs: {} }).request };
}

/** The tokens that each row sees, its own the last, and its position. */
function seenBy({ tokens, parents, positions }: RunRequest): { text: number[]; position: number }[] {
  const rows: { text: number[]; position: number }[] = [];
  tokens.forEach((token, row) => {
    const parent = parents ? parents[row] : row - 1;
    rows.push({ text: [...(parent < 0 ? [] : rows[parent].text), token], position: positions[row] });
  });
  return rows;
}

const { program, bytes, shape } = tinyModel(6); // one of its layers has a window
const reference = new ReferenceExecutor(
  program,
  (tensor) => ({ dtype: 'F32', shape: shape(tensor), bytes: bytes(tensor) }),
  () => ({ accept: () => undefined }) as never,
);
const cpu = new NativeExecutor(program, bytes, { threads: 2 });
afterAll(() => [reference, cpu].forEach((executor) => executor.dispose()));

const longest = Array.from({ length: 16 }, (_, node) => node - 1);
const trees = [[-1, 0, 1, 2, 3, 4], [-1, 0, 0, 1, 2, 2, 5], [-1, -1, 0, 0, 2, 1], [-1]];

test('each second reading has the text, the draft, the request and the copy before it; rows of the draft are as without', async () => {
  const random = new Generator(3, 'reading.test');
  const token = (): number => random.integer(0, 39);
  for (let trial = 0; trial < 25; trial++) {
    const wide = trial === 24; // the most that is usual
    const parents = wide ? longest : trees[trial % trees.length];
    const tokens = parents.map((_, node) => (node * 5 + token()) % 40);
    const text = Array.from({ length: random.integer(1, 9) }, token);
    const options = {
      ...settings,
      prompt: Int32Array.from({ length: wide ? 32 : random.integer(0, 5) }, () => random.integer(40, 49)),
      anchorTokens: random.integer(trial % 2, 4),
      fuseBonus: trial % 3 === 0,
      reflectPaths: 1 + (trial % 2),
    };
    if (options.prompt.length + options.anchorTokens === 0) continue;
    const draft = draftOf(tokens, parents, options, text);
    const plainly = draftOf(tokens, parents, { ...options, reflectPaths: 0 }, text);
    const { request } = requestOf(cpu, text, draft);
    const seen = seenBy(request);
    const again = draft.again!;
    const rows = 1 + tokens.length;
    expect(request.walks![0]).toMatchObject({ output: 0, rows });
    expect(request.outputs).toHaveLength(rows + again.outputs.length);
    const lead = [...options.prompt, ...(options.anchorTokens > 0 ? text.slice(-options.anchorTokens) : [])];
    const literal = again.outputs.map((_, i) => {
      const own = seen[request.outputs[again.rows[i]]]; // of the draft's row
      const second = seen[request.outputs[rows + i]];
      const drafted = own.text.slice(text.length); // up to this row
      expect(second.position).toBe(second.text.length - 1);
      // The whole path, then the request, then the path up to here once more.
      expect(second.text.slice(0, text.length)).toEqual(text);
      expect(second.text.slice(second.text.length - drafted.length - lead.length)).toEqual([...lead, ...drafted]);
      const path = second.text.slice(text.length, second.text.length - drafted.length - lead.length);
      expect(path.slice(0, drafted.length)).toEqual(drafted);
      expect(path.length + 0).toBeGreaterThan(options.fuseBonus ? drafted.length - 1 : drafted.length);
      return request.outputs[rows + i];
    });
    // Their logits are those of the literal text, and the draft's rows do not notice.
    const logits: Float32Array[] = [];
    for (const executor of [cpu, reference]) {
      const own = requestOf(executor, text, draft);
      const out = new Float32Array(own.request.outputs.length * vocab);
      const { walks: _, ...rest } = own.request;
      await executor.run(own.kv, { ...rest, samplers: undefined, logits: out } as RunRequest);
      logits.push(out);
    }
    logits[0].forEach((value, i) => expect(Math.abs(value - logits[1][i])).toBeLessThan(1e-4));
    const narrow = requestOf(cpu, text, plainly);
    const out = new Float32Array(rows * vocab);
    await cpu.run(narrow.kv, { ...narrow.request, logits: out });
    expect(logits[0].slice(0, rows * vocab)).toEqual(out);
    for (const [i, row] of literal.entries()) {
      const words = Int32Array.from(seen[row].text);
      const kv = reference.createKvCache({ maxPages: 40, keyType: 'F32', valueType: 'F32' });
      const last = new Float32Array(vocab);
      await reference.run(kv, {
        tokens: words,
        positions: words.map((_, k) => k),
        sequences: new Int32Array(words.length).fill(kv.create()),
        outputs: Int32Array.of(words.length - 1),
        logits: last,
      });
      const own = logits[0].subarray((rows + i) * vocab, (rows + i + 1) * vocab);
      last.forEach((value, k) => expect(Math.abs(value - own[k])).toBeLessThan(1e-4));
    }
  }
});

test('a model that looks at k tokens says the same twice behind an anchor of k, and without one from token k on', () => {
  const text = [1, 2, 3, 4, 5, 6];
  for (const k of [1, 2, 3]) {
    for (const anchorTokens of [0, k, k + 1]) {
      const options = { ...settings, anchorTokens };
      const draft = draftOf([7, 8, 9, 10, 11], [-1, 0, 1, 2, 3], options, text);
      const { request } = requestOf(cpu, text, draft);
      expect(draft.again!.tokens).toHaveLength(rowsOfReading(options, 5));
      const seen = seenBy(request);
      const same = Array.from(draft.again!.outputs, (_, i) => {
        const [first, second] = [draft.again!.rows[i], 6 + i].map((output) =>
          seen[request.outputs[output]].text.slice(-k),
        );
        return first.join() === second.join();
      });
      expect(same).toEqual(same.map((_, i) => anchorTokens >= k || i >= k));
    }
  }
});

test('an oracle of rows: such a model says the same text for every alpha behind an anchor of k, and not without one', () => {
  const size = 40;
  const start = [1, 2, 3, 4, 5, 6];
  for (const k of [1, 2, 3]) {
    const known = new Map<string, Float32Array>();
    const table = (text: readonly number[]): Float32Array => {
      const key = text.slice(-k).join();
      const random = new Generator(6, `${k} ${key}`);
      const row = known.get(key) ?? Float32Array.from({ length: size }, () => random.integer(0, 999));
      known.set(key, row);
      return row;
    };
    const best = (row: Float32Array): number => row.indexOf(row.reduce((a, b) => Math.max(a, b)));
    const say = (alpha: number, anchorTokens: number, fuseBonus: boolean): number[] => {
      const sampler = new (native().Sampler)({ ...plain, vocab: size, temperature: 0 });
      const text = [...start];
      for (let cycle = 1; text.length < 30; cycle++) {
        // What the model would say, but for one token of each second draft.
        const drafted: number[] = [];
        for (let depth = 0; depth < 1 + (cycle % 5); depth++) {
          const right = best(table([...text, ...drafted]));
          drafted.push(cycle % 2 === 0 && depth === 1 ? (right + 1) % size : right);
        }
        const draft = draftOf(
          drafted,
          [...drafted.keys()].map((node) => node - 1),
          { ...settings, alpha, anchorTokens, fuseBonus },
          text,
        );
        const { request, kv } = requestOf(cpu, text, draft);
        const seen = seenBy(request);
        const logits = Float32Array.from([...request.outputs].flatMap((row) => [...table(seen[row].text)]));
        const walk = {
          tokens: Int32Array.of(text.at(-1) as number, ...drafted),
          parents: Int32Array.from(drafted, (_, i) => i),
        };
        const { rows } = draft.again!;
        const reflection = { alpha, corrects: true, rows };
        const parents = Int32Array.of(-1, ...walk.parents);
        const { kept, out } = verifyNative(sampler, { ...walk, parents }, logits, { name: 'match' }, cycle, {
          reflection,
        });
        const end = kept.subarray(1).findIndex((flags) => (flags & 1) === 0);
        text.push(...out.subarray(0, 1 + (end < 0 ? drafted.length : end)));
        kv.dispose();
      }
      return text.slice(0, 30);
    };
    const literal = [...start];
    while (literal.length < 30) literal.push(best(table(literal)));
    for (const alpha of [0, 0.3, 0.7, 1]) {
      for (const fuseBonus of [false, true]) {
        expect(say(alpha, k, fuseBonus)).toEqual(literal);
        expect(say(alpha, k + 1, fuseBonus)).toEqual(literal);
      }
    }
    // Without an anchor the first k rows of each copy are read behind the request.
    expect(say(0, 0, false)).toEqual(literal);
    expect(say(1, 0, false)).not.toEqual(literal);
  }
});

test('what a second reading prefers is kept from alpha = g / (g + G) on, and what it finds wrong never', () => {
  const [wrong, fix, said, right] = [1, 2, 3, 4];
  const size = 6;
  const row = (values: Record<number, number>): number[] =>
    Array.from({ length: size }, (_, token) => values[token] ?? 0);
  for (const [g, gain] of [
    [1, 3],
    [2, 2],
    [3, 1],
  ]) {
    for (const token of [right, wrong]) {
      const first = row({ [said]: 9 + g, [token]: 9 });
      const second =
        token === wrong ? row({ [fix]: 9 + gain, [said]: 9, [wrong]: 8 }) : row({ [right]: 9 + gain, [said]: 9 });
      for (let step = 0; step <= 20; step++) {
        const alpha = step / 20;
        const logits = Float32Array.from([...first, ...row({ 5: 1 }), ...second]);
        const { kept } = verifyNative(
          new (native().Sampler)({ ...plain, vocab: size, temperature: 0 }),
          { tokens: Int32Array.of(0, token), parents: Int32Array.of(-1, 0) },
          logits,
          { name: 'ratio' },
          1,
          { reflection: { alpha, corrects: true, rows: Int32Array.of(0) } },
        );
        const switches = g / (g + gain);
        if (Math.abs(alpha - switches) < 1e-6) continue; // a tie
        expect({ token, alpha, kept: (kept[1] & 1) === 1 }).toEqual({
          token,
          alpha,
          kept: token === right && alpha > switches,
        });
      }
    }
  }
});

test('drawn drafts keep the law of the mixture', () => {
  const random = new Generator(5, 'mixture');
  const size = 5;
  const rows = Array.from({ length: 3 }, () => Float32Array.from({ length: size }, () => random.integer(-6, 6) / 4));
  const softmax = (row: Float32Array): Float64Array => {
    const weights = Float64Array.from(row, (value) => Math.exp(value));
    return weights.map((weight) => weight / weights.reduce((a, b) => a + b));
  };
  const law = softmax(fuse(rows[0], [rows[1]], 0.4));
  const q = softmax(rows[2]);
  const count = 60_000;
  for (const alpha of [0.4, 0.9]) {
    const sampler = new (native().Sampler)({ ...plain, vocab: size, seed: 5n, logprob: false });
    const found = new Float64Array(size);
    for (let cycle = 1; cycle <= count; cycle++) {
      let target = unit(random);
      const token = Math.max(
        0,
        q.findIndex((value) => (target -= value) < 0),
      );
      const draft = {
        tokens: Int32Array.of(0, token),
        parents: Int32Array.of(-1, 0),
        drawing: { nodes: [{ law: q, drawn: [token] }], replacement: false },
      };
      const logits = Float32Array.from([...rows[0], ...rows[0], ...rows[1]]);
      const reflection = { alpha, corrects: true, rows: Int32Array.of(0) };
      found[verifyNative(sampler, draft, logits, { name: 'ratio' }, cycle, { reflection }).out[0]]++;
    }
    const statistic = law.reduce((sum, p, token) => sum + (found[token] - count * p) ** 2 / (count * p), 0);
    // Four degrees of freedom: above 24 with a probability of 1e-4. Another weight is another law.
    if (alpha === 0.4) expect(statistic).toBeLessThan(24);
    else expect(statistic).toBeGreaterThan(200);
  }
});

test('drafts are read twice while that is faster, and now and then the other way', () => {
  const simulate = (cost: number, gain: number): number => {
    const gate = new Gate(16);
    let twice = 0;
    for (let cycle = 0; cycle < 800; cycle++) {
      const reads = gate.reads;
      if (cycle >= 160) twice += Number(reads);
      gate.learn(reads, reads ? 3 + gain : 3, reads ? cost : 1);
    }
    return twice / 640;
  };
  expect(simulate(1, 0.5)).toBe(15 / 16);
  expect(simulate(1.1, 0.6)).toBe(15 / 16);
  expect(simulate(3, 0.5)).toBe(1 / 16);
  expect(simulate(1.2, 0)).toBe(1 / 16);
});

test('a second reading that finds no memory is left out, and so is one that finds no rows', async () => {
  const draft = draftOf([7, 8, 9], [-1, 0, 1], settings, [1]);
  for (const [rows, maxRows] of [
    [6, 512],
    [99, 8],
  ]) {
    const watch = ({ tokens }: RunRequest): void => {
      if (tokens.length > rows) throw new VivaceError('OUT_OF_MEMORY', 'full');
    };
    const executor = new FakeExecutor({ vocab, watch });
    const engine = new Engine(executor, vocab, { maxRows });
    const kv = executor.createKvCache();
    const sampler = executor.createSampler({ ...plain, vocab });
    const job = { kv, sequence: kv.create(), tokens: Int32Array.of(1), sampler, draft };
    const result = await engine.submit(job).done;
    expect(result).toMatchObject({ verified: true });
    expect(result!.changed).toBeUndefined();
    expect(executor.requests.at(-1)!.tokens).toHaveLength(4);
  }
});
