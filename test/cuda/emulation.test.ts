// The emulated device: every primitive gives what CUDA's manual says, every kind of mistake is reported.
import { runChecks } from './checks.js';

test.each([
  ['primitives', 6],
  ['matrices', 7],
  ['arithmetic', 5],
  ['mistakes', 43],
])(
  '%s of kernels',
  (name, checks) => {
    const lines = runChecks({ programs: [`${name}.cu`] });
    if (lines === undefined) return;
    expect(lines.filter((line) => line.startsWith('ok')).length).toBe(checks);
  },
  300_000,
);
