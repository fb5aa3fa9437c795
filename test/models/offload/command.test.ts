// A budget of experts on the command line: the plan before anything is loaded, the same text, and mistakes with a remedy.
import { join } from 'node:path';
import type { ExpertPlan, ExpertStatistics } from '../../../lib/index.js';
import { root, vivace, vivaceJson } from '../../cli/command.js';

const model = join(root, 'models', 'experts', 'vivace-tiny-experts.gguf');
const budget = ['--expert-memory', '2MB'];

test('inspect says how a budget is spent, and what is left of the memory', async () => {
  interface Facts {
    experts?: ExpertPlan;
    memory: { mapped: number; weights: number; total: number }[];
  }
  const whole = await vivaceJson<Facts>(['inspect', model]);
  const { experts: plan, memory } = await vivaceJson<Facts>(['inspect', model, ...budget]);
  expect(whole.experts).toBeUndefined();
  expect(plan).toMatchObject({ policy: 'fate', memory: 2_000_000, resident: false });
  expect(plan!.bytes).toBeLessThanOrEqual(2_000_000);
  const { slots, staging, layers } = plan!;
  expect(layers.reduce((sum, layer) => sum + layer.slots, staging)).toBe(slots);
  expect(memory[0].mapped).toBe(whole.memory[0].mapped - plan!.expertBytes);
  expect(memory[0].weights).toBe(whole.memory[0].weights + plan!.bytes);
  const { stdout } = await vivace(['inspect', model, ...budget]);
  expect(stdout).toMatch(/^experts {2}fate: \d+ at a time in .* per layer [\d ]+ stay$/m);
});

test('run says the same text, and what it read', async () => {
  interface Said {
    text: string;
    experts?: ExpertStatistics & { plan: ExpertPlan };
  }
  const text = ['run', model, 'Once upon a time', '-n', '12', '--temperature', '0'];
  const whole = await vivaceJson<Said>(text);
  const few = await vivaceJson<Said>([...text, ...budget, '--expert-policy', 'lru']);
  expect(few.text).toBe(whole.text);
  expect(whole.experts).toBeUndefined();
  expect(few.experts).toMatchObject({ plan: { policy: 'lru' } });
  expect(few.experts!.bytesCopied).toBeGreaterThan(0);
  const { stderr } = await vivace([...text, ...budget]);
  expect(stderr).toMatch(/^experts {2}fate: .* stay$/m);
  expect(stderr).toMatch(/^experts hits \d.*predicted \d.* read in \d+ copies/m);
});

test.each([
  [['--expert-memory', '10KB'], /a layer needs \d+ at a time/],
  [['--expert-memory', 'much'], /Expected a number of bytes/],
  [['--expert-policy', 'lru'], /Give --expert-memory, too/],
])('%j is a mistake', async (given, message) => {
  const { code, stderr } = await vivace(['run', model, 'Hello', ...given]);
  expect(code).not.toBe(0);
  expect(stderr).toMatch(message);
});
