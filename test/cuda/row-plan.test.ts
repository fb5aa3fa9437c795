// What attention is told of a run's rows is made anew only where it changes.
import { runChecks } from './checks.js';

test('plans that are kept are those of each run', () => {
  const lines = runChecks({
    programs: ['row_plan.cu'],
    host: ['cuda/program/row_plan.cpp', 'cuda/program/kept_row_plan.cpp'],
  });
  if (lines === undefined) return;
  expect(lines).toEqual([
    'ok kept plans are those of each run',
    'ok every chunk that a row sees is in one unit',
    'ok most of them were kept',
    'ok a sequence makes two per 128 tokens',
  ]);
}, 120_000);
