// The emulated device: every primitive gives what CUDA's manual says, every kind of mistake is reported.
import { onCard, runChecks, sanitized } from './checks.js';

// On a card mistakes are not caught, and failures cannot be asked for. Sanitizers would end the program at mistakes.
test.each([
  ['primitives', onCard ? 4 : 6],
  ['matrices', 7],
  ['arithmetic', 5],
  ...(onCard || sanitized ? [] : [['mistakes', 46] as const]),
] as const)(
  '%s of kernels',
  (name, checks) => {
    const lines = runChecks({ programs: [`${name}.cu`] });
    if (lines === undefined) return;
    expect(lines.filter((line) => line.startsWith('ok')).length).toBe(checks);
  },
  300_000,
);
