// A program whose logits have a low-rank addition: what changes while a drafter learns.
import { VivaceError } from '../errors.js';
import type { OpCall, Program, Value } from './program.js';

/** Names of the addition's two matrices, [rank, width] and [vocab, rank]. */
export const lowRankTensors = ['low_rank.a.weight', 'low_rank.b.weight'] as const;

/**
 * logits + b · (a · hidden), where `hidden` is what the output matrix multiplies; all else is as it was, so that keys and
 * values in the cache are those of either program. Throws UNSUPPORTED_FEATURE where the logits are not the output matrix's
 * product (soft-capped ones), or the program does not say what it multiplies.
 */
export function withLowRank(program: Program, rank: number): Program {
  const { logits } = program.outputs;
  const hidden = program.taps?.['hidden'];
  const last = program.calls.find(({ outputs }) => outputs.includes(logits));
  if (!hidden || last?.op !== 'linear') {
    throw new VivaceError(
      'UNSUPPORTED_FEATURE',
      `${program.name}: its logits are not the product of its output matrix`,
      {
        remedy: 'Models with soft-capped logits cannot learn online.',
      },
    );
  }
  const values = [...program.values];
  const add = (value: Omit<Value, 'id'>): Value => {
    const made = { ...value, id: values.length };
    values.push(made);
    return made;
  };
  const weight = (name: string, rows: number, columns: number): Value =>
    add({ name, dtype: 'F32', rows, columns, kind: 'weight', weight: { tensor: name, firstRow: 0 } });
  const value = (name: string, columns: number): Value =>
    add({ name, dtype: 'F32', rows: logits.rows, columns, kind: 'value' });
  const a = weight(lowRankTensors[0], rank, hidden.columns);
  const b = weight(lowRankTensors[1], logits.columns, rank);
  const inner = value('low_rank.inner', rank);
  const outer = value('low_rank.outer', logits.columns);
  const sum = value('low_rank.logits', logits.columns);
  const calls: OpCall[] = [
    ...program.calls,
    { op: 'linear', inputs: [hidden, a, undefined, undefined], outputs: [inner], attributes: [] },
    { op: 'linear', inputs: [inner, b, undefined, undefined], outputs: [outer], attributes: [] },
    { op: 'add', inputs: [logits, outer], outputs: [sum], attributes: [] },
  ];
  return { ...program, values, calls, outputs: { ...program.outputs, logits: sum } };
}
