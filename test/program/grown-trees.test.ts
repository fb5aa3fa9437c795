// Trees that a model drafts level by level in one run: the plain algorithm's, with a plain run's logits on every path, and a
// cache that goes on like a fresh one.
import type { DraftedTree, DraftTree, Executor, KvCache, RowSampler, TreeShape } from '../../lib/program/executor.js';
import { NativeExecutor } from '../../lib/program/native-executor.js';
import { plain } from '../decode/sampler-options.js';
import { grownTree, pathsOf, ranked } from '../decode/tree/plain-trees.js';
import { cardName, emulatedDevice } from '../ops/executors.js';
import { tinyModel } from './tiny-model.js';

const vocab = 50;
const grown = (depth: number, nodes: number, topK: number, width: number, least = 0): TreeShape => {
  return { depth, nodes, topK, width, least };
};

class Player {
  readonly kv: KvCache;
  readonly samplers: RowSampler[] = [];
  constructor(
    readonly executor: Executor,
    maxPages = 400,
  ) {
    this.kv = executor.createKvCache({ pageSize: 4, maxPages, keyType: 'F32', valueType: 'F32' });
  }
  sampler(options: Partial<typeof plain> = {}): RowSampler {
    const sampler = this.executor.createSampler({ ...plain, vocab, temperature: 0, ...options });
    this.samplers.push(sampler);
    return sampler;
  }
  async read(sequence: number, list: readonly number[]): Promise<Float32Array> {
    const from = this.kv.length(sequence);
    const logits = new Float32Array(vocab);
    await this.executor.run(this.kv, {
      tokens: Int32Array.from(list),
      positions: Int32Array.from(list, (_, i) => from + i),
      sequences: Int32Array.from(list, () => sequence),
      outputs: Int32Array.of(list.length - 1),
      logits,
    });
    return logits;
  }
  /** Logits behind a text, in a sequence of their own. */
  async plainly(text: readonly number[]): Promise<Float32Array> {
    const sequence = this.kv.create();
    const logits = await this.read(sequence, text);
    this.kv.release(sequence);
    return logits;
  }
  /** One run with the ends of some texts, each the root of a tree. */
  async grow(
    jobs: readonly { sequence: number; tokens: readonly number[]; tree?: Omit<DraftTree, 'output'> }[],
  ): Promise<DraftedTree[]> {
    const rows = jobs.flatMap(({ sequence, tokens }) =>
      tokens.map((token, i) => ({ sequence, token, at: this.kv.length(sequence) + i, last: i + 1 === tokens.length })),
    );
    const outputs = [...rows.keys()].filter((row) => rows[row].last);
    const trees = jobs.flatMap(({ tree }, output) => (tree ? [{ ...tree, output }] : []));
    const result = await this.executor.run(this.kv, {
      tokens: Int32Array.from(rows, ({ token }) => token),
      positions: Int32Array.from(rows, ({ at }) => at),
      sequences: Int32Array.from(rows, ({ sequence }) => sequence),
      outputs: Int32Array.from(outputs),
      samplers: outputs.map(() => null),
      trees,
    });
    expect(result.errors.every((error) => error === null)).toBe(true);
    return [...(result.trees ?? [])];
  }
  cells(sequence: number): Uint8Array {
    const count = this.kv.length(sequence);
    const out = new Uint8Array(count * this.kv.cellBytes);
    this.kv.readCells(sequence, 0, count, out);
    return out;
  }
  dispose(): void {
    this.samplers.forEach((sampler) => sampler.dispose());
    this.kv.dispose();
    this.executor.dispose();
  }
}

const text = [3, 17, 8, 41, 20, 5, 33, 2, 9, 28];
const devices = [['cpu', 0] as const, ...(emulatedDevice() ? [[cardName, 0] as const] : [])];

describe.each(devices)('on %s', (deviceName) => {
  const card = deviceName !== 'cpu'; // emulated at some hundred rows a second
  const player = (window: number, threads = 2, maxPages?: number): Player => {
    const { program, bytes } = tinyModel(window);
    return new Player(new NativeExecutor(program, bytes, { threads, deviceName }), maxPages);
  };
  /** Plain runs, on the CPU. */
  const oracle = (window: number): Player => {
    const { program, bytes } = tinyModel(window);
    return new Player(new NativeExecutor(program, bytes, { threads: 1 }));
  };

  test.each([
    ['everything is seen', 0],
    ['a window that the tree leaves', 4],
  ])('%s: several trees in one run are those of the plain algorithm', async (_, window) => {
    const own = player(window);
    const plainly = oracle(window);
    const shapes = [grown(5, 12, 3, 3), grown(1, 6, 6, 6), grown(4, 40, 4, 7), grown(9, 9, 2, 1), grown(6, 90, 8, 20)];
    const jobs = [];
    for (const [i, shape] of shapes.entries()) {
      const sequence = own.kv.create();
      await own.read(sequence, text.slice(0, 4 + i));
      jobs.push({ sequence, tokens: text.slice(4 + i, 6 + i), tree: { sampler: own.sampler(), shape, cycle: 1 } });
    }
    const idle = own.kv.create();
    const trees = await own.grow([...jobs.slice(0, 2), { sequence: idle, tokens: [4, 5, 6] }, ...jobs.slice(2)]);
    expect(own.kv.length(idle)).toBe(3);
    for (const [i, tree] of trees.entries()) {
      const expected = await grownTree(
        (path) => plainly.plainly([...text.slice(0, 6 + i), ...path]),
        shapes[i] as Parameters<typeof grownTree>[1],
      );
      expect([...tree.tokens]).toEqual(expected.tokens);
      expect([...tree.parents]).toEqual(expected.parents);
      tree.scores.forEach((score, node) => expect(Math.abs(score - expected.scores[node])).toBeLessThan(1e-4));
      // The root is in the cache, the tree is not.
      expect(own.kv.length(jobs[i].sequence)).toBe(6 + i);
    }
    plainly.dispose();
    own.dispose();
  });

  test('what is kept of a tree goes on as if nothing else had been computed', async () => {
    const own = player(5);
    for (let round = 0, cycle = 1; round < (card ? 2 : 6); round++) {
      const sequence = own.kv.create();
      const said = text.slice(0, 3 + round);
      await own.read(sequence, said.slice(0, -1));
      let pending = said.slice(-1);
      for (let turn = 0; turn < 3; turn++, cycle++) {
        const shape = grown(2 + turn, 8 + 5 * round, 3, 3);
        const tree = { sampler: own.sampler(), shape, cycle };
        const [{ tokens, parents, rows }] = await own.grow([{ sequence, tokens: pending, tree }]);
        const paths = pathsOf({ tokens, parents });
        // The deepest node with a row, or another one.
        const computed = [...rows.keys()].filter((node) => rows[node] >= 0);
        const node = computed[(computed.length * ((round * 3 + turn) % 5)) % computed.length] ?? -1;
        const kept = node < 0 ? [] : paths[node];
        const cells = [];
        for (let at = node; at >= 0; at = parents[at]) cells.unshift(rows[at]);
        own.kv.keep(sequence, Int32Array.from(cells));
        said.push(...kept, 7 + turn);
        pending = [7 + turn];
      }
      const fresh = own.kv.create();
      await own.read(fresh, said.slice(0, -1));
      expect(own.kv.length(sequence)).toBe(said.length - 1);
      const [a, b] = [own.cells(sequence), own.cells(fresh)];
      if (!card) expect(Buffer.compare(a, b)).toBe(0);
      else {
        const [x, y] = [new Float32Array(a.buffer), new Float32Array(b.buffer)];
        expect(x.every((value, i) => Math.abs(value - y[i]) < 2e-4)).toBe(true);
      }
      own.kv.release(sequence);
      own.kv.release(fresh);
    }
    own.dispose();
  });

  test('fixed shapes take the ranks that they name; drawn children are on record', async () => {
    const own = player(0);
    const plainly = oracle(0);
    const parents = Int32Array.of(-1, -1, 0, 0, 0, 1, 2, 6);
    const [chosen, drawn] = [own.kv.create(), own.kv.create()];
    const proposal = own.executor.createProposal(true);
    const shape = { parents, scores: Float32Array.from(parents, (_, node) => 1 / (node + 2)) };
    const [a, b] = await own.grow([
      { sequence: chosen, tokens: text, tree: { sampler: own.sampler(), shape: { parents }, cycle: 1 } },
      {
        sequence: drawn,
        tokens: text,
        tree: { sampler: own.sampler({ temperature: 1, topK: 6, seed: 4n }), shape, proposal, cycle: 3 },
      },
    ]);
    expect([...a.parents]).toEqual([...parents]);
    const paths = pathsOf(a);
    for (let node = 0; node < parents.length; node++) {
      const rank = parents.slice(0, node).filter((parent) => parent === parents[node]).length;
      const before = paths[node].slice(0, -1);
      expect(a.tokens[node]).toBe(ranked(await plainly.plainly([...text, ...before]))[rank][0]);
    }
    expect([...b.parents]).toEqual([...parents]);
    expect([...b.scores]).toEqual([...shape.scores]);
    const said = pathsOf(b);
    for (let row = 0; row <= parents.length; row++) {
      const children = [...b.tokens].filter((_, node) => parents[node] === row - 1);
      const law = row < proposal.size ? proposal.read(row) : null;
      expect([...(law?.drawn ?? [])]).toEqual(children);
      if (children.length === 0) continue;
      const best = ranked(await plainly.plainly([...text, ...(said[row - 1] ?? [])])).slice(0, 6);
      expect([...law!.ids]).toEqual(best.map(([token]) => token).sort((x, y) => x - y));
      const total = best.reduce((sum, [, value]) => sum + Math.exp(value), 0);
      for (const [token, value] of best) {
        expect(law!.weights[law!.ids.indexOf(token)]).toBeCloseTo(Math.exp(value) / total, 3);
      }
      expect(new Set(children).size).toBe(children.length);
      expect(children.every((token) => law!.ids.includes(token))).toBe(true);
    }
    plainly.dispose();
    own.dispose();
  });

  test('children are those that the host takes or draws, and where they are drawn here no logits leave the card', async () => {
    if (!card) return; // it is the host
    const own = player(0);
    const host = oracle(0);
    const parents = Int32Array.of(-1, -1, -1, 0, 0, 1, 3, 3);
    const kinds: [Partial<typeof plain>, boolean][] = [
      [{ temperature: 0 }, false],
      [{ temperature: 1 }, true],
      [{ temperature: 1.2, topK: 6 }, true],
      [{ temperature: 0.9, topP: 0.9, minP: 0.01 }, true],
      [{ temperature: 0.8, repetitionPenalty: 1.4, logitBias: new Map([[7, 2]]) }, true],
      [{ temperature: 0.8, topK: 1 }, true], // a law of one token has one child
      [{ temperature: 0, repetitionPenalty: 1.4, presencePenalty: 0.6, logitBias: new Map([[7, 2]]) }, false],
    ];
    for (const [index, [options, drawn]] of kinds.entries()) {
      const play = async (by: Player) => {
        const sampler = by.sampler({ seed: BigInt(index), ...options });
        sampler.accept(Int32Array.from(text));
        const proposal = drawn ? by.executor.createProposal(false) : undefined;
        const tree = { sampler, shape: { parents }, cycle: 2, ...(proposal ? { proposal } : {}) };
        const grow = () => by.grow([{ sequence: by.kv.create(), tokens: text, tree }]);
        await grow(); // the first run of a shape leaves a trail
        sampler.accept(Int32Array.of(3)); // generated now, no part of the prompt
        const before = by.executor === own.executor ? (own.executor as NativeExecutor).traffic().received : 0;
        const [{ tokens, parents: found }] = await grow();
        const received =
          by.executor === own.executor ? (own.executor as NativeExecutor).traffic().received - before : 0;
        const read = proposal ? Array.from({ length: proposal.size }, (_, row) => proposal.read(row)) : [];
        return {
          tokens: [...tokens],
          parents: [...found],
          drawn: read.map((one) => [...(one?.drawn ?? [])]),
          received,
        };
      };
      const [a, b] = [await play(own), await play(host)];
      expect({ index, ...a, received: 0 }).toEqual({ index, ...b });
      // 12 bytes per row that was computed, 8 per child, in levels of some rows.
      expect(a.received).toBeLessThanOrEqual(16 * (1 + a.tokens.length) + 8 * a.tokens.length * (index === 5 ? 3 : 1));
    }
    host.dispose();
    own.dispose();
  });

  test('penalties and bans count the path; a sampler is afterwards as it was', async () => {
    const own = player(0);
    const plainly = oracle(0);
    const options = { repetitionPenalty: 1.5, presencePenalty: 0.7, logitBias: new Map([[11, -Infinity]]) };
    const [sampler, twin] = [own.sampler(options), own.sampler(options)];
    for (const one of [sampler, twin]) one.accept(Int32Array.from(text));
    const draft = async (with_: RowSampler): Promise<DraftedTree> => {
      const sequence = own.kv.create();
      const tree = { sampler: with_, shape: grown(5, 20, 3, 3), cycle: 1 };
      return (await own.grow([{ sequence, tokens: text, tree }]))[0];
    };
    const first = await draft(sampler);
    expect(first.tokens.includes(11)).toBe(false);
    expect(await draft(sampler)).toEqual(first);
    expect(await draft(twin)).toEqual(first);
    const expected = await grownTree(
      async (path) => {
        const logits = await plainly.plainly([...text, ...path]);
        logits[11] = -Infinity;
        for (const token of new Set([...text, ...path])) {
          logits[token] = logits[token] > 0 ? logits[token] / 1.5 : logits[token] * 1.5;
          if (path.includes(token)) logits[token] -= 0.7;
        }
        return logits;
      },
      grown(5, 20, 3, 3) as Parameters<typeof grownTree>[1],
    );
    expect([...first.tokens]).toEqual(expected.tokens);
    expect([...first.parents]).toEqual(expected.parents);
    plainly.dispose();
    own.dispose();
  });

  test('without memory for more, a tree ends early', async () => {
    const own = player(0, 1, 8); // 32 cells, of which half stay free: the text's 10, and two levels of three
    const sequence = own.kv.create();
    const [{ tokens, parents }] = await own.grow([
      { sequence, tokens: text, tree: { sampler: own.sampler(), shape: grown(8, 30, 3, 3), cycle: 1 } },
    ]);
    expect(pathsOf({ tokens, parents }).every((path) => path.length <= 3)).toBe(true);
    expect(tokens.length).toBeGreaterThanOrEqual(3);
    expect(own.kv.length(sequence)).toBe(text.length);
    own.dispose();
  });
});

test('trees that make no sense are refused', async () => {
  const { program, bytes } = tinyModel();
  const own = new Player(new NativeExecutor(program, bytes, { threads: 1 }));
  const sequence = own.kv.create();
  const sampler = own.sampler();
  const grow = (shape: TreeShape, drawn = false) => {
    const proposal = drawn ? { proposal: own.executor.createProposal(false) } : {};
    return own.grow([{ sequence, tokens: [1, 2], tree: { sampler, shape, cycle: 1, ...proposal } }]);
  };
  await expect(grow(grown(0, 3, 1, 1))).rejects.toMatchObject({ code: 'INTERNAL' });
  await expect(grow({ parents: Int32Array.of(0) })).rejects.toMatchObject({ code: 'INTERNAL' });
  await expect(grow({ parents: new Int32Array() })).rejects.toMatchObject({ code: 'INTERNAL' });
  await expect(grow(grown(2, 3, 1, 1), true)).rejects.toMatchObject({ code: 'INTERNAL' });
  expect(own.kv.length(sequence)).toBe(0);
  await expect(grow(grown(2, 3, 1, 1))).resolves.toHaveLength(1);
  own.dispose();
});
