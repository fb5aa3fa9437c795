// A card that fails while a model runs, and one without enough memory: what is said, and what goes on. Each story is told by
// a process of its own, because what was broken stays broken there, as on a card.
import { spawnSync } from 'node:child_process';
import { join, resolve } from 'node:path';
import { cardName, emulatedDevice } from '../ops/executors.js';

const root = resolve(__dirname, '..', '..');
// A card cannot be told to fail.
const emulated = cardName === 'cuda-emulated' && emulatedDevice() !== undefined;
const whenEmulated = emulated ? test : test.skip;

interface Failure {
  readonly code: string;
  readonly message: string;
  readonly remedy?: string;
}

/** Runs `story` with what it needs in scope; what it returns, or fails when the process does. */
function tell<T>(story: string, env: NodeJS.ProcessEnv): T {
  const script = `
    const { loadModel } = require(${JSON.stringify(join(root, 'dist', 'index.js'))});
    const failure = async (promise) => {
      try {
        await promise;
        return { code: 'none', message: '' };
      } catch ({ code, message, remedy }) {
        return { code, message, remedy };
      }
    };
    const load = (device = 'cuda-emulated', options = {}) => loadModel(undefined, { device, threads: 1, ...options });
    const write = async (model, maxTokens, prompt = 'Once upon') => {
      const session = model.createSession();
      let text = '';
      try {
        for await (const piece of session.generate(prompt, { maxTokens, temperature: 0 })) text += piece.text;
        return text;
      } finally {
        session.dispose();
      }
    };
    (async () => { ${story} })().then((told) => console.log(JSON.stringify(told)));`;
  const { stdout, stderr, status, signal } = spawnSync(process.execPath, ['-e', script], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
    timeout: 100_000,
  });
  if (status !== 0) throw new Error(`the process ended with ${status ?? signal}: ${stderr}`);
  return JSON.parse(stdout) as T;
}

whenEmulated('an error names its op, poisons the card for the process, and the CPU goes on', () => {
  const told = tell<{ first: Failure; again: Failure; other: Failure; cpu: string[] }>(
    `
    const [model, other, cpu] = [await load(), await load(), await load('cpu')];
    await write(other, 1);
    const going = write(cpu, 60);
    const first = await failure(write(model, 30));
    const again = await failure(write(model, 30));
    const poisoned = await failure(write(other, 4));
    model.dispose();
    other.dispose();
    return { first, again, other: poisoned, cpu: [await going, await write(cpu, 60)] };`,
    { VIVACE_EMULATED_FAULT: 'rotate:101', VIVACE_CUDA_TRAIL: '1' },
  );
  expect(told.first.code).toBe('DEVICE_LOST');
  expect(told.first.message).toMatch(/stopped working .*cudaErrorIllegalAddress.*, in op rope, call \d+ of \d+$/);
  expect(told.first.remedy).toMatch(/Start the process again/);
  expect(told.again).toEqual(told.first);
  expect(told.other.code).toBe('DEVICE_LOST');
  expect(told.other.message).toMatch(/^Another model has lost the graphics card for this process: .*in op rope/);
  expect(told.cpu[0].length).toBeGreaterThan(50);
  expect(told.cpu[1]).toBe(told.cpu[0]);
});

test.each([
  [{}, /in a run that leaves no trail; with VIVACE_CUDA_TRAIL=1 in the environment its op is named$/],
  [{ VIVACE_CUDA_TRAIL: '1' }, /, in op linear of [\w.]+, call \d+ of \d+$/],
])('an error in a recorded round, with %p', (env, message) => {
  if (!emulated) return;
  const { code, message: said } = tell<Failure>(`return failure(write(await load(), 20));`, {
    VIVACE_EMULATED_FAULT: 'multiply_floats:200',
    ...env,
  });
  expect(code).toBe('DEVICE_LOST');
  expect(said).toMatch(message);
});

whenEmulated('a trail changes no token', () => {
  const texts = [{}, { VIVACE_CUDA_TRAIL: '1' }].map((env) => tell<string>('return write(await load(), 12);', env));
  expect(texts[1]).toBe(texts[0]);
});

// Streams that do nothing before somebody waits for them: memory that is used too early, or given away, would show.
whenEmulated('a card that is late says the same', () => {
  const story = `
    const { draftModel, nGram } = require(${JSON.stringify(join(root, 'dist', 'index.js'))});
    const [model, small] = [await load(), await load()];
    const run = async (prompt, options, stopAfter = Infinity) => {
      const session = model.createSession();
      let text = '';
      let pieces = 0;
      for await (const piece of session.generate(prompt, options)) {
        text += piece.text;
        if (++pieces >= stopAfter) break;
      }
      for await (const piece of session.generate(' and', { ...options, maxTokens: 2 })) text += piece.text;
      session.dispose();
      return text;
    };
    const drafts = { drafter: draftModel(small, { minProbability: 0 }), adaptive: false, maxDraft: 3 };
    const together = await Promise.all([
      run('Once upon', { maxTokens: 8, temperature: 0 }),
      run('Tom', { maxTokens: 8, seed: 3, logprobs: 2 }),
      run('The cat', { maxTokens: 40, seed: 4, temperature: 1 }, 4),
      run('A dog', { maxTokens: 6, seed: 5, temperature: 1, speculation: drafts }),
      run('A dog', { maxTokens: 6, seed: 5, speculation: { ...drafts, verifier: 'block' } }),
    ]);
    // Alone, so that rounds with drafts go on by themselves.
    const chain = { drafter: nGram(), adaptive: false, maxDraft: 3 };
    return [...together, await run('red blue red blue red', { maxTokens: 12, temperature: 0, speculation: chain })];`;
  const texts = [{}, { VIVACE_EMULATED_LATE: '1' }].map((env) => tell<string[]>(story, env));
  expect(texts[1]).toEqual(texts[0]);
  texts[0].forEach((text) => expect(text.length).toBeGreaterThan(5));
});

const megabytes = (count: number) => ({ VIVACE_EMULATED_MEMORY: String(count * 2 ** 20) });

whenEmulated('a model that does not fit is refused before anything is moved, with figures', () => {
  const { code, message, remedy } = tell<Failure>('return failure(load());', megabytes(2));
  expect(code).toBe('OUT_OF_MEMORY');
  expect(message).toMatch(
    /^The model needs \d+ MiB on the graphics card \(\d+ MiB for weights, \d+ MiB for values\) .*; 2 MiB of 2 MiB are free$/,
  );
  expect(remedy).toMatch(/fewer bits/);
});

whenEmulated('a context that does not fit ends its session alone, with figures, and others go on', () => {
  const told = tell<{ failed: Failure; before: string; after: string }>(
    `
    const model = await load();
    const before = await write(model, 4);
    // A page of 1024 tokens takes 2 MiB.
    const sessions = [1, 2, 3, 4, 5].map(() => model.createSession({ cache: { pageSize: 1024 } }));
    const failures = [];
    for (const session of sessions) failures.push(await failure(session.forward(Int32Array.of(65))));
    const failed = failures.at(-1);
    for (const session of sessions) session.dispose();
    return { failed, before, after: await write(model, 4) };`,
    megabytes(12),
  );
  expect(told.failed.code).toBe('OUT_OF_MEMORY');
  expect(told.failed.message).toMatch(/no memory for another page of \d+ bytes; [01] of 12 MiB are free/);
  expect(told.failed.remedy).toMatch(/shorter context/);
  expect(told.after).toBe(told.before);
});

whenEmulated('an error in the very first run is named without being asked for', () => {
  const { code, message } = tell<Failure>('return failure(write(await load(), 1));', {
    VIVACE_EMULATED_FAULT: 'rotate:3',
  });
  expect(code).toBe('DEVICE_LOST');
  expect(message).toMatch(/, in op rope, call \d+ of \d+$/);
});
