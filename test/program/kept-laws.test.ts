// A draft model's laws on a card: they stay there for a target on the same card, and go wherever else they are wanted.
import { native } from '../../lib/native.js';
import type { Proposal, SamplerOptions, VerifyRule } from '../../lib/program/executor.js';
import { NativeExecutor } from '../../lib/program/native-executor.js';
import { plain } from '../decode/sampler-options.js';
import { cardName, emulatedDevice } from '../ops/executors.js';
import { tinyModel, vocab } from './tiny-model.js';

const device = emulatedDevice();
const { program, bytes } = tinyModel(0);
const made = (deviceName: 'cpu' | typeof cardName) => new NativeExecutor(program, bytes, { threads: 2, deviceName });
const cpu = made('cpu');
const card = device && { draft: made(cardName), target: made(cardName) };
afterAll(() => [cpu, card?.draft, card?.target].forEach((executor) => executor?.dispose()));
const onCard = card ? test : test.skip; // without a compiler there is no emulated card

const base: SamplerOptions = { ...plain, vocab, temperature: 0.9, seed: 5n };
const kinds: Record<string, Partial<SamplerOptions>> = {
  plain: {},
  greedy: { temperature: 0 },
  topK: { topK: 7 },
  nucleus: { topP: 0.8, minP: 0.02 },
  penalties: { repetitionPenalty: 1.3, frequencyPenalty: 0.2, logitBias: new Map([[3, 2]]) },
};
const prompts = Object.keys(kinds).map((_, index) => [1 + index, 9, 2 * index]);
const STEPS = 4;

function samplersOf(executor: NativeExecutor) {
  return Object.values(kinds).map((kind, index) => {
    const sampler = executor.createSampler({ ...base, ...kind });
    sampler.accept(Int32Array.from(prompts[index]));
    return sampler;
  });
}

/** Drafts of all kinds at once, in one run of a few rounds; bytes that came back from the card in the rounds. */
async function draft(executor: NativeExecutor, proposals: readonly Proposal[]) {
  const kv = executor.createKvCache({ pageSize: 8, maxPages: 100 });
  const sequences = prompts.map(() => kv.create());
  const rows = prompts.flatMap((prompt, i) => prompt.map((token, k) => ({ token, k, sequence: sequences[i] })));
  const told: number[][] = [];
  const received: number[] = [executor.traffic().received];
  await executor.run(kv, {
    tokens: Int32Array.from(rows, ({ token }) => token),
    positions: Int32Array.from(rows, ({ k }) => k),
    sequences: Int32Array.from(rows, ({ sequence }) => sequence),
    outputs: Int32Array.from(prompts, (prompt, i) => (i + 1) * prompt.length - 1),
    samplers: samplersOf(executor),
    drafts: proposals.map((proposal) => ({ proposal, cycle: 3 })),
    ahead: {
      rounds: Int32Array.of(STEPS),
      limit: STEPS,
      ends: new Int32Array(),
      told: ({ tokens }) => told.push([...tokens]),
    },
  });
  received.push(executor.traffic().received);
  kv.dispose();
  return { drafted: prompts.map((_, i) => told.map((tokens) => tokens[i])), received: received[1] - received[0] };
}

async function verify(
  executor: NativeExecutor,
  drafted: readonly (readonly number[])[],
  proposals: readonly Proposal[],
  rule: VerifyRule,
) {
  const kv = executor.createKvCache({ pageSize: 8, maxPages: 100 });
  const rows = prompts.flatMap((prompt, i) => {
    const sequence = kv.create();
    return [...prompt, ...drafted[i]].map((token, k) => ({ token, k, sequence, isOutput: k >= prompt.length - 1 }));
  });
  const outputs = [...rows.keys()].filter((row) => rows[row].isOutput);
  const samplers = samplersOf(executor);
  const sent = executor.traffic().sent;
  const { tokens, kept, errors } = await executor.run(kv, {
    tokens: Int32Array.from(rows, ({ token }) => token),
    positions: Int32Array.from(rows, ({ k }) => k),
    sequences: Int32Array.from(rows, ({ sequence }) => sequence),
    outputs: Int32Array.from(outputs),
    samplers: outputs.map(() => null),
    walks: samplers.map((sampler, i) => {
      return { output: i * (1 + STEPS), rows: 1 + STEPS, sampler, rule, cycle: 3, proposal: proposals[i] };
    }),
  });
  kv.dispose();
  return { said: { tokens: [...tokens], kept: [...kept], errors }, sent: executor.traffic().sent - sent };
}

const proposalsOf = (executor: NativeExecutor): Proposal[] => prompts.map(() => executor.createProposal(false));
const rules: VerifyRule[] = [{ name: 'ratio' }, { name: 'block' }];

onCard('drafts, their laws and their verification are those of the host, and no law travels', async () => {
  const { draft: small, target } = card!;
  const hosts = proposalsOf(cpu);
  const expected = await draft(cpu, hosts);
  for (let again = 0; again < 2; again++) {
    const kept = proposalsOf(target);
    const { drafted, received } = await draft(small, kept);
    expect(drafted).toEqual(expected.drafted);
    // The first runs of a shape leave trails of their ops.
    if (again > 0) expect(received).toBe(STEPS * prompts.length * 16);
    for (const rule of rules) {
      const { said, sent } = await verify(target, drafted, kept, rule);
      const onHost = await verify(cpu, drafted, hosts, rule);
      expect(said).toEqual(onHost.said);
      const travelling = await verify(target, drafted, hosts, rule);
      expect(travelling.said).toEqual(onHost.said);
      expect(sent).toBeLessThan(travelling.sent - vocab * 8 * STEPS);
    }
    kept.forEach((proposal, i) => {
      expect(proposal.size).toBe(STEPS);
      for (let node = 0; node < STEPS; node++) {
        const [own, wanted] = [proposal.read(node), hosts[i].read(node)];
        expect([...own!.drawn]).toEqual([...wanted!.drawn]);
        expect([...own!.ids]).toEqual([...wanted!.ids]);
        own!.weights.forEach((weight, k) => expect(weight).toBeCloseTo(wanted!.weights[k], 3));
      }
    });
  }
  if (cardName !== 'cuda-emulated') return; // others keep no list
  const kernels = native().deviceKernels((device as { library: string }).library);
  for (const name of ['keep_laws', 'verify_rows', 'verify_block']) expect(kernels.split('\n')).toContain(name);
});

onCard('drafts of a card are verified by a host, whoever they were made for', async () => {
  const { draft: small, target } = card!;
  for (const made of [proposalsOf(cpu), proposalsOf(target)]) {
    const { drafted } = await draft(small, made);
    const hosts = proposalsOf(cpu);
    await draft(cpu, hosts);
    const { said } = await verify(cpu, drafted, made, { name: 'ratio' });
    expect(said).toEqual((await verify(cpu, drafted, hosts, { name: 'ratio' })).said);
  }
});
