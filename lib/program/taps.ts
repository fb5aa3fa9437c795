// A program that also returns values in between, for every row of a run: features that drafters and judges read.
import { VivaceError } from '../errors.js';
import type { OpCall, Program, Value } from './program.js';

/**
 * The program with some of its `taps` among its outputs, [rows, width] each. Where only the rows of outputs were computed,
 * all are, and those of outputs are taken afterwards: `logits` stay as they are, bit for bit, since a row depends on that
 * row alone. Ids of values stay. Throws INVALID_ARGUMENT for a name that the program does not have.
 */
export function tappedProgram(program: Program, names: readonly string[]): Program {
  const values = [...program.values];
  const wanted = names.map((name) => {
    const value = program.taps?.[name];
    if (value) return value;
    throw new VivaceError('INVALID_ARGUMENT', `${program.name} has no values called \`${name}\``, {
      remedy: `There are ${Object.keys(program.taps ?? {}).join(', ') || 'none'}.`,
    });
  });
  let calls: readonly OpCall[] = program.calls;
  // Of those before another one all rows may be computed by then.
  for (const value of wanted) if (values[value.id].rows === 'outputs') calls = withAllRows(value, calls, values);
  const outputs = Object.fromEntries(names.map((name, index) => [name, values[wanted[index].id]]));
  return { name: program.name, values, calls, outputs: { ...program.outputs, ...outputs }, kv: program.kv };
}

/** Columns of what a program can be asked for. */
export const tapWidths = ({ taps = {} }: Program): Record<string, number> =>
  Object.fromEntries(Object.entries(taps).map(([name, { columns }]) => [name, columns]));

/** Columns of what a program reads besides the rows of a batch. */
export const inputWidths = ({ values }: Program): Record<string, number> =>
  Object.fromEntries(
    values.filter(({ kind, dtype }) => kind === 'input' && dtype === 'F32').map(({ name, columns }) => [name, columns]),
  );

/** The calls, with a value for all rows instead of those of outputs, and these taken from it for whoever reads it. */
function withAllRows(tap: Value, calls: readonly OpCall[], values: Value[]): OpCall[] {
  const before = ancestors(tap, calls);
  const replaced = new Map<Value, Value>(); // where a value of some rows is read: one of all rows
  const result: OpCall[] = [];
  let indices: Value | undefined;
  for (const call of calls) {
    if (!before.has(call)) continue;
    const inputs = call.inputs.map((value) => (value && replaced.get(value)) ?? value);
    if (call.op === 'row_select') {
      indices = inputs[1];
      replaced.set(call.outputs[0], inputs[0] as Value);
      continue;
    }
    const outputs = call.outputs.map((value) => {
      if (value.rows !== 'outputs') return value;
      const all: Value = { ...value, rows: 'rows' };
      values[value.id] = all;
      replaced.set(value, all);
      return all;
    });
    result.push({ ...call, inputs, outputs });
  }
  if (!indices) throw new VivaceError('INTERNAL', `${tap.name}: no call takes the rows of outputs before it`);
  const selected: Value = { ...tap, id: values.length, name: `${tap.name}.selected` };
  values.push(selected);
  result.push({ op: 'row_select', inputs: [values[tap.id], indices], outputs: [selected], attributes: [] });
  for (const call of calls) {
    if (before.has(call)) continue;
    const inputs = call.inputs.map((value) => (value === tap ? selected : value));
    const lost = inputs.find((value) => value && replaced.has(value));
    if (lost) throw new VivaceError('INTERNAL', `${lost.name} is read before and after ${tap.name}`);
    result.push({ ...call, inputs });
  }
  return result;
}

/** The calls that a value depends on; writes of the cache come before it, too, and what the program reads nowhere itself. */
function ancestors(tap: Value, calls: readonly OpCall[]): Set<OpCall> {
  const last = calls.findIndex(({ outputs }) => outputs.includes(tap));
  const needed = new Set<Value>([tap]);
  const found = new Set<OpCall>();
  const read = new Set(calls.flatMap(({ inputs }) => inputs));
  for (const call of calls.slice(0, last + 1).reverse()) {
    const wanted = call.outputs.some((value) => needed.has(value)) || !call.outputs.some((value) => read.has(value));
    if (!wanted) continue;
    found.add(call);
    for (const value of call.inputs) if (value) needed.add(value);
  }
  return found;
}
