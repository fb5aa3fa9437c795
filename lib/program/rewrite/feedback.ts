// The program of rows that read what the rows before them left: what a run gives for that is not worked out.
import type { OpCall, Program, Value } from '../program.js';

/** `program` with the input of its `feedback` as an input of runs; itself where it is one. Ids of values stay. */
export function fedProgram(program: Program): Program {
  const { feedback } = program;
  if (!feedback || feedback.input.kind === 'input') return program;
  const input: Value = { ...feedback.input, kind: 'input' };
  const needed = new Set<Value>(Object.values(program.outputs));
  const calls: OpCall[] = [];
  for (const call of [...program.calls].reverse()) {
    const writes = call.outputs.length === 0; // the cache
    if (call.outputs.includes(feedback.input) || !(writes || call.outputs.some((value) => needed.has(value)))) continue;
    for (const value of call.inputs) if (value) needed.add(value);
    calls.unshift({ ...call, inputs: call.inputs.map((value) => (value === feedback.input ? input : value)) });
  }
  // Inputs that nothing reads any more are values that nothing writes.
  const values = program.values.map((value): Value => {
    if (value === feedback.input) return input;
    return value.kind === 'input' && value.dtype === 'F32' && !needed.has(value) ? { ...value, kind: 'value' } : value;
  });
  return { ...program, values, calls, feedback: { input, output: feedback.output } };
}
