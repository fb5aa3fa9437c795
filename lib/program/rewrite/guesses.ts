// A program whose layers also guess the queries of the next one, from what goes into themselves: what these choose is fetched
// while a layer is computed (Double Sparsity, Yang et al. 2024, offloading).
import { ops } from '../ops.js';
import type { OpCall, Program, Value } from '../program.js';

/**
 * The program with guesses for layers that `wanted` has: the calls between the residual stream and a layer's queries, its own
 * norm among them, are made once more with what goes into the layer before, and `choose_ahead` reads what they give. Layers
 * where that cannot be are left as they are; so are all results. Ids of values stay.
 */
export function guessingProgram(program: Program, wanted: (layer: number) => boolean): Program {
  const made = new Map(program.calls.flatMap((call) => call.outputs.map((value) => [value, call] as const)));
  const places = new Map(program.calls.map((call, index) => [call, index] as const));
  const values = [...program.values];
  const before = new Map<OpCall, OpCall[]>();
  for (const call of program.calls) {
    const [layer, heads, , , , window] = call.attributes;
    if (call.op !== 'attention' || !wanted(layer)) continue;
    const earlier = program.calls.find(({ op, attributes }) => op === 'attention' && attributes[0] === layer - 1);
    const [into, like] = [layer, layer - 1].map((one) => program.taps?.[`residual.${one}`]);
    if (!earlier || !into || !like) continue;
    const chain = between(into, call.inputs[0], made);
    const known = (value: Value | undefined): boolean => {
      const maker = value && made.get(value);
      return !maker || (places.get(maker) ?? Infinity) < (places.get(earlier) ?? -1);
    };
    if (!chain?.every(({ inputs }) => inputs.slice(1).every(known)) || !known(like)) continue;
    const guesses: OpCall[] = [];
    let x = like;
    for (const one of chain) {
      const y: Value = { ...one.outputs[0], id: values.length, name: `${one.outputs[0].name}.guess` };
      values.push(y);
      guesses.push({ ...one, inputs: [x, ...one.inputs.slice(1)], outputs: [y] });
      x = y;
    }
    guesses.push({ op: 'choose_ahead', inputs: [x], outputs: [], attributes: [layer, heads, window] });
    before.set(earlier, guesses);
  }
  return { ...program, values, calls: program.calls.flatMap((call) => [...(before.get(call) ?? []), call]) };
}

/** The calls that make `to` of `from`, each of the first input of the next, for all rows of a run. */
function between(from: Value, to: Value | undefined, made: ReadonlyMap<Value, OpCall>): OpCall[] | undefined {
  const chain: OpCall[] = [];
  for (let value = to; value !== from;) {
    const call = value && made.get(value);
    const plain = call && call.outputs.length === 1 && call.outputs[0].rows === 'rows' && !('state' in ops[call.op]);
    if (!call || !plain) return undefined;
    chain.unshift(call);
    [value] = call.inputs;
  }
  return chain.length > 0 ? chain : undefined;
}
