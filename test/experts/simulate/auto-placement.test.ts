// The placement that `auto` takes depends on the machine.
import { fasterPlacement } from '../../../lib/experts/simulate/auto-placement.js';
import { fixedCosts } from '../../../lib/experts/simulate/machine.js';
import { syntheticTrace } from '../../../lib/experts/simulate/synthetic.js';

const shape = { layers: 24, experts: 60, used: 4, tokens: 40, zipf: 0.8, reuse: 0.3, accuracy: 0.97, seed: 1 };
const trace = syntheticTrace(shape);
const room = { policy: 'fate', slots: 490, staging: 10 } as const;

test('complete first layers where copies fit under what is computed, layers alike where they do not', () => {
  expect(fasterPlacement(trace, fixedCosts(1, 0.05, 0.24), room)).toBe('shallow');
  expect(fasterPlacement(trace, fixedCosts(0.3, 0.05, 0.24), room)).toBe('uniform');
  expect(fasterPlacement(trace, fixedCosts(0.3, 0.05, 0.87), room)).toBe('uniform');
});

test('layers alike where it makes no difference', () => {
  expect(fasterPlacement(trace, fixedCosts(1, 0.05, 0), room)).toBe('uniform');
  expect(fasterPlacement({ ...trace, steps: [] }, fixedCosts(1, 1, 1), room)).toBe('uniform');
});
