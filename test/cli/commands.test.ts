// What each command prints, for people and for machines.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { loadModel, openModelFile, type MemoryEstimate } from '../../lib/index.js';
import { randomModel, writeRandomGguf } from '../fixtures/random-model.js';
import { emulatedDevice } from '../ops/executors.js';
import { embedded, root, vivace, vivaceJson } from './command.js';

interface RunResult {
  text: string;
  tokens: number[];
  promptTokens: number;
  finishReason: string;
  seed: string;
  timings: Record<string, number>;
}

const timings = {
  prefillMs: expect.any(Number),
  decodeMs: expect.any(Number),
  prefillTokensPerSecond: expect.any(Number),
  decodeTokensPerSecond: expect.any(Number),
};

describe('vivace run', () => {
  test('streams text, then says how fast it was and what share of the memory bandwidth that is', async () => {
    const { code, stdout, stderr } = await vivace(['run', 'Once upon a time', '-n', '12', '--seed', '1']);
    expect(code).toBe(0);
    expect(stdout.trim().length).toBeGreaterThan(10);
    expect(stderr).toMatch(/^prompt +\d+ tokens +[\d.,]+ tokens\/s$/m);
    expect(stderr).toMatch(/^decode +12 tokens +[\d.,]+ tokens\/s$/m);
    expect(stderr).toMatch(/^memory +[\d.]+ GB\/s, [\d.]+ % of the [\d.]+ GB\/s/m);
    expect(stdout + stderr).not.toContain('\u001b');
  });

  test('--json gives text, tokens, counts and timings, the same for a seed, whether the model is named or not', async () => {
    const args = ['-n', '8', '--seed', '5', '--temperature', '0.9'];
    const [unnamed, named] = await Promise.all([
      vivaceJson<RunResult>(['run', 'The little dog', ...args]),
      vivaceJson<RunResult>(['run', embedded, '-p', 'The little dog', ...args, '--threads', '1']),
    ]);
    expect(unnamed).toMatchObject({
      finishReason: 'length',
      seed: '5',
      timings: { ...timings, loadMs: expect.any(Number) },
    });
    expect(unnamed.tokens).toHaveLength(8);
    expect(unnamed.promptTokens).toBeGreaterThanOrEqual(3);
    expect(named.text).toBe(unnamed.text);
    expect(named.tokens).toEqual(unnamed.tokens);
  });

  test('a cache policy lets texts go on beyond the context', async () => {
    const ends = ['--logit-bias', '2045=-Infinity', '--logit-bias', '2047=-Infinity']; // none
    const args = ['Once', '-n', '200', '--temperature', '0', '--context', '128', ...ends];
    const cache = ['--cache', 'lm-infinite', '--cache-options', 'sinks=2,window=100,valueType=q8_0'];
    const { tokens } = await vivaceJson<RunResult>(['run', ...args, ...cache]);
    expect(tokens).toHaveLength(200);
  });

  test('sampling options arrive: bans, stop texts, log-probabilities', async () => {
    const greedy = await vivaceJson<RunResult>(['run', 'Once upon a time', '-n', '6', '--temperature', '0']);
    const [first] = greedy.tokens;
    const banned = await vivaceJson<RunResult & { logprobs: { token: number; top: unknown[] }[] }>([
      'run',
      'Once upon a time',
      '-n',
      '6',
      '--temperature',
      '0',
      '--logit-bias',
      `${first}=-Infinity`,
      '--logprobs',
      '3',
    ]);
    expect(banned.tokens).not.toContain(first);
    expect(banned.logprobs).toHaveLength(6);
    expect(banned.logprobs[0].top).toHaveLength(3);
    const word = greedy.text.trim().split(' ')[1];
    const stopped = await vivaceJson<RunResult>([
      'run',
      'Once upon a time',
      '-n',
      '6',
      '--temperature',
      '0',
      '--stop',
      word,
    ]);
    expect(stopped.finishReason).toBe('stop');
    expect(greedy.text.startsWith(stopped.text)).toBe(true);
    expect(stopped.text).not.toContain(word);
  });

  const unix = process.platform === 'win32' ? test.skip : test;
  unix('Ctrl-C ends the text, and the summary still comes', async () => {
    const child = spawn(
      process.execPath,
      [join(root, 'bin', 'vivace.js'), 'run', '-n', '900', '--logit-bias', '2045=-Infinity'],
      {
        cwd: root,
      },
    );
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.stdout.once('data', () => child.kill('SIGINT'));
    const code = await new Promise((done) => child.on('close', done));
    expect(code).toBe(0);
    expect(stderr).toMatch(/^decode +\d+ tokens/m);
  });
});

describe('vivace chat', () => {
  test('answers each line of standard input, and remembers what was said', async () => {
    const { code, stdout } = await vivace(['chat', '-n', '12', '--seed', '1', '--json'], 'Hello!\n\nHow are you?\n');
    expect(code).toBe(0);
    const turns = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, number>);
    expect(turns).toHaveLength(2);
    for (const turn of turns) expect(turn).toMatchObject({ text: expect.any(String), timings });
    expect(turns[1].promptTokens).toBeGreaterThan(turns[0].promptTokens);
    expect(turns[1].cachedTokens).toBeGreaterThan(0);
  });
});

describe('vivace inspect', () => {
  test('prints configuration, metadata, tensors and memory', async () => {
    const { code, stdout } = await vivace(['inspect', embedded]);
    expect(code).toBe(0);
    for (const heading of ['Metadata', 'Tensor types', 'Tensors', 'Memory'])
      expect(stdout).toMatch(new RegExp(`^${heading}$`, 'm'));
    expect(stdout).toContain('blk.0.attn_q.weight');
  });

  test('for a card: weights as they will lie there, and what it plans for values', async () => {
    const device = 'cuda-emulated';
    if (!emulatedDevice()) return; // a build without it
    const { memory } = await vivaceJson<{ memory: MemoryEstimate[] }>(['inspect', embedded, '--device', device]);
    using model = await loadModel(embedded, { device, threads: 1, repack: 'load' });
    const { weights, mapped } = model.memoryUsage();
    for (const row of memory) expect(row).toMatchObject({ weights, mapped });
    expect(memory.map(({ activations }) => activations)).toEqual(memory.map(() => model.estimateMemory().activations));
    const [{ memory: host }, text] = [
      await vivaceJson<{ memory: MemoryEstimate[] }>(['inspect', embedded]),
      (await vivace(['inspect', embedded, '--device', device])).stdout,
    ];
    expect(host[0].activations).not.toBe(memory[0].activations);
    expect(text).toMatch(/^Memory$/m);
  });

  test('of experts: how many there are, and the parameters of a token', async () => {
    const file = join(mkdtempSync(join(tmpdir(), 'vivace-')), 'experts.gguf');
    writeRandomGguf(file, randomModel('deepseek'), 'F32');
    const { stdout } = await vivace(['inspect', file]);
    expect(stdout).toMatch(/experts +6 of feed-forward 256, a shared one of 512, 2 of a token, in 1 of 2 layers/);
    const facts = await vivaceJson<{ parameters: number; activeParameters: number }>(['inspect', file]);
    expect(facts.parameters - facts.activeParameters).toBe(4 * 3 * 256 * 256);
    rmSync(dirname(file), { recursive: true });
  });

  test('--json has every tensor, and memory estimates that grow with the context', async () => {
    const facts = await vivaceJson<{
      parameters: number;
      tensors: { name: string; dtype: string; shape: number[]; bytes: number }[];
      types: Record<string, { bytes: number }>;
      memory: { contextLength: number; total: number }[];
    }>(['inspect', embedded]);
    const bytes = facts.tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
    expect(Object.values(facts.types).reduce((sum, row) => sum + row.bytes, 0)).toBe(bytes);
    expect(facts.tensors.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0)).toBe(facts.parameters);
    const totals = facts.memory.map(({ total }) => total);
    expect(totals.length).toBeGreaterThan(1);
    expect(totals).toEqual([...totals].sort((a, b) => a - b));
  });
});

describe('vivace tokenize', () => {
  test('pieces are the text again, byte for byte', async () => {
    const text = 'Once upon a time, an owl said: “Who?” 🦉\n';
    const { tokens, pieces } = await vivaceJson<{ tokens: number[]; pieces: string[] }>(
      ['tokenize', embedded, '--no-special'],
      text,
    );
    expect(tokens).toHaveLength(pieces.length);
    const bytes = pieces.flatMap((piece) => {
      const [, hex] = /^<0x([0-9A-F]{2})>$/.exec(piece) ?? [];
      return hex === undefined ? [...Buffer.from(piece)] : [parseInt(hex, 16)];
    });
    expect(Buffer.from(bytes).toString('utf8')).toBe(text);
  });

  test('special tokens come unless they are not wanted', async () => {
    const [withSpecial, without] = await Promise.all([
      vivaceJson<{ tokens: number[] }>(['tokenize', embedded], 'hello'),
      vivaceJson<{ tokens: number[] }>(['tokenize', embedded, '--no-special'], 'hello'),
    ]);
    expect(withSpecial.tokens.slice(1)).toEqual(without.tokens);
    const { stdout } = await vivace(['tokenize', embedded], 'hello');
    expect(stdout.trim().split('\n')).toHaveLength(withSpecial.tokens.length);
  });
});

describe('vivace bench', () => {
  test('--json gives least, middle and greatest speeds, bytes per token and the fraction of the bandwidth', async () => {
    const spread = { min: expect.any(Number), median: expect.any(Number), max: expect.any(Number) };
    const args = ['bench', '--prompt', '16', '--generate', '8', '--repeat', '3', '--threads', '1'];
    const result = await vivaceJson<Record<string, never>>(args);
    expect(result).toMatchObject({
      prompt: 16,
      generate: 8,
      repeat: 3,
      prefillTokensPerSecond: spread,
      decodeTokensPerSecond: spread,
      bytesPerToken: expect.any(Number),
      bytesPerSecond: expect.any(Number),
      memoryBandwidth: expect.any(Number),
      fraction: expect.any(Number),
    });
    const { min, median, max } = result['decodeTokensPerSecond'] as { min: number; median: number; max: number };
    expect(min).toBeGreaterThan(0);
    expect([min, median, max]).toEqual([min, median, max].sort((a, b) => a - b));
  });

  test('--profile counts the experts that a token met, not all', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'vivace-'));
    const file = join(folder, 'experts.gguf');
    writeRandomGguf(file, randomModel('mixtral'), 'F16');
    type Rows = { rows: { op: string; bytes: number; operations: number }[] };
    const args = ['bench', file, '--profile', '--prompt', '8', '--generate', '8', '--repeat', '1', '--threads', '1'];
    const { decode } = await vivaceJson<{ decode: Rows }>(args);
    rmSync(folder, { recursive: true });
    const matrix = 256 * 256; // two experts of four in each of two layers, gate and up
    const { bytes, operations } = decode.rows.find(({ op }) => op === 'expert_gate_up') ?? { bytes: 0, operations: 0 };
    expect(operations).toBe(2 * 2 * 2 * 2 * matrix);
    expect(bytes / (2 * 2 * 2 * 2 * matrix)).toBeCloseTo(1, 1); // and rows of x, ids and y
  });

  test('--profile shows where the time of a token and of a prompt goes', async () => {
    interface Row {
      op: string;
      weight: string;
      calls: number;
      ms: number;
      share: number;
      bytes: number;
      operations: number;
      ofLimit: number;
    }
    interface Profile {
      ms: number;
      outsideMs: number;
      rows: Row[];
    }
    const args = ['bench', '--profile', '--prompt', '64', '--generate', '16', '--repeat', '2', '--threads', '1'];
    const { prefill, decode } = await vivaceJson<{ prefill: Profile; decode: Profile }>(args);
    const { config, tensors } = openModelFile(embedded);
    const down = tensors.get('blk.0.ffn_down.weight') as { shape: readonly number[]; bytes: number };
    const values = down.shape[0] * down.shape[1];
    for (const [{ ms, outsideMs, rows }, tokens] of [
      [decode, 1],
      [prefill, 64],
    ] as const) {
      const found = (op: string, weight = ''): Row => rows.find((row) => row.op === op && row.weight === weight) as Row;
      const row = found('linear', 'ffn_down');
      expect(row.calls).toBeGreaterThanOrEqual(config.layers);
      // The last layer works on the rows whose logits are wanted only.
      expect(row.operations).toBeCloseTo(2 * (tokens * (config.layers - 1) + 1) * values, 0);
      expect(row.bytes).toBeGreaterThan(down.bytes * config.layers);
      expect(found('attention').bytes).toBeGreaterThan(0);
      expect(found('sample').calls).toBe(1);
      expect(rows.reduce((sum, { share }) => sum + share, 0)).toBeCloseTo(1, 6);
      // Each part of the time is somewhere, and only once.
      expect(rows.reduce((sum, one) => sum + one.ms, outsideMs)).toBeCloseTo(ms, 6);
      expect(outsideMs).toBeGreaterThan(0);
    }
    const { stdout } = await vivace(args);
    expect(stdout).toMatch(/^op +weight +type +calls +ms +share +moved +GB\/s +of limit$/m);
    expect(stdout).toMatch(/^linear +ffn_down .* %$/m);
    expect(stdout).toMatch(/^outside ops/m);
    const refused = await vivace(['bench', '--profile', '--device', 'reference', '--prompt', '2', '--generate', '2']);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('does not measure its ops');
  });

  test('prints a table for people', async () => {
    const { code, stdout } = await vivace(['bench', '--prompt', '16', '--generate', '8', '--repeat', '1']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^prefill +16 tokens( +[\d.,]+){3}$/m);
    expect(stdout).toMatch(/^decode +8 tokens( +[\d.,]+){3}$/m);
    expect(stdout).toMatch(/^fraction reached +[\d.]+ %/m);
  });
});
