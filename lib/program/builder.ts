// Builds a Program call by call; every shape and type mistake is reported here, naming the op and the tensor.
import { VivaceError } from '../errors.js';
import type { DType } from './dtype.js';
import { activations, groupScores, ops, ropeLayouts, scorings, shapeOf } from './ops.js';
import type { Checker, OpName, OpSignature } from './ops.js';
import type { KvShape, OpCall, Program, Rows, Value } from './program.js';

/** What the builder must know of a stored tensor: its type and its shape [out, in] or [n]. */
export interface WeightInfo {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Stored column i is column `columnOrder[i]` of what it multiplies (checkpoints that sort columns by their group). */
  readonly columnOrder?: Int32Array;
}

/** The rule of `route`. */
export interface Routing {
  /** Experts of a row. */
  readonly used: number;
  readonly scoring: (typeof scorings)[number];
  readonly normalise: boolean;
  readonly scale: number;
  readonly groups: number;
  readonly groupsUsed: number;
  readonly groupScore: (typeof groupScores)[number];
}

export class ProgramBuilder {
  private readonly values: Value[] = [];
  private readonly calls: OpCall[] = [];
  private readonly weights = new Map<string, Value>();
  private readonly orders = new Map<Value, Int32Array>(); // weights whose columns were sorted
  private readonly sorted: { x: Value; order: Int32Array; y: Value }[] = [];

  /** `weight` describes the model file's tensors by canonical name; it may return undefined for absent ones. */
  constructor(
    private readonly name: string,
    private readonly lookup: (tensor: string) => WeightInfo | undefined,
  ) {}

  input(name: string, dtype: 'I32' | 'F32', rows: Rows, columns = 1): Value {
    return this.value({ name, dtype, rows, columns, kind: 'input' });
  }

  constant(name: string, rows: number, columns: number, data: Float32Array | Int32Array): Value {
    const dtype = data instanceof Int32Array ? 'I32' : 'F32';
    return this.value({ name, dtype, rows, columns, kind: 'constant', data });
  }

  has(tensor: string): boolean {
    return this.lookup(tensor) !== undefined;
  }

  /**
   * A stored tensor as [rows, columns]; vectors are [1, n]. `shape` is what the model's config implies and is checked.
   * `firstRow` takes `shape[0]` rows out of a larger (fused) tensor. Matrices of experts, [experts, out, in], lie below each
   * other: [experts · out, in].
   */
  weight(
    tensor: string,
    shape: readonly [number] | readonly [number, number] | readonly [number, number, number],
    firstRow?: number,
  ): Value {
    const key = `${tensor}@${firstRow ?? 'all'}+${shape.join('x')}`;
    const known = this.weights.get(key);
    if (known) return known;
    const info = this.lookup(tensor);
    if (!info) {
      throw new VivaceError('MISSING_TENSOR', `${this.name}: the model file has no tensor \`${tensor}\``, {
        remedy: 'The file is incomplete or was converted for another architecture; convert it again.',
      });
    }
    const fits =
      firstRow === undefined
        ? info.shape.join() === shape.join()
        : info.shape.length === 2 && info.shape[1] === shape[1] && firstRow + shape[0] <= info.shape[0];
    if (!fits) {
      throw new VivaceError(
        'SHAPE_MISMATCH',
        `${this.name}: tensor \`${tensor}\` is [${info.shape.join(', ')}], the configuration implies ` +
          `[${shape.join(', ')}]${firstRow === undefined ? '' : ` from row ${firstRow}`}`,
      );
    }
    const columns = shape[shape.length - 1];
    const rows = shape.slice(0, -1).reduce((product, size) => product * size, 1);
    const value = this.value({
      name: tensor,
      dtype: info.dtype,
      rows,
      columns,
      kind: 'weight',
      weight: { tensor, firstRow: firstRow ?? 0 },
    });
    this.weights.set(key, value);
    if (info.columnOrder) this.orders.set(value, info.columnOrder);
    return value;
  }

  embedding(weight: Value, tokens: Value, scale = 1): Value {
    return this.call('embedding', [weight, tokens], { scale })[0];
  }
  rmsNorm(x: Value, weight: Value, epsilon: number): Value {
    return this.call('rms_norm', [x, weight], { epsilon })[0];
  }
  layerNorm(x: Value, weight: Value, bias: Value | undefined, epsilon: number): Value {
    return this.call('layer_norm', [x, weight, bias], { epsilon })[0];
  }
  linear(x: Value, weight: Value, bias?: Value): Value {
    return this.call('linear', [this.inOrderOf(weight, x), weight, bias], {})[0];
  }
  ropeTable(positions: Value, frequencies: Value, magnitude = 1): Value {
    return this.call('rope_table', [positions, frequencies], { magnitude })[0];
  }
  rope(x: Value, table: Value, heads: number, layout: (typeof ropeLayouts)[number]): Value {
    return this.call('rope', [x, table], { heads, layout: ropeLayouts.indexOf(layout) })[0];
  }
  kvWrite(k: Value, v: Value, layer: number): void {
    this.call('kv_write', [k, v], { layer });
  }
  attention(
    q: Value,
    options: { layer: number; heads: number; valueDim: number; scale: number; softcap?: number; window?: number },
  ): Value {
    const { layer, heads, valueDim, scale, softcap = 0, window = 0 } = options;
    return this.call('attention', [q], { layer, heads, value_dim: valueDim, scale, softcap, window })[0];
  }
  /** q guesses the queries of a later layer. */
  chooseAhead(q: Value, options: { layer: number; heads: number; window?: number }): void {
    this.call('choose_ahead', [q], { window: 0, ...options });
  }
  gatedActivation(gate: Value, up: Value, activation: (typeof activations)[number]): Value {
    return this.call('gated_activation', [gate, up], { activation: activations.indexOf(activation) })[0];
  }
  add(a: Value, b: Value): Value {
    return this.call('add', [a, b], {})[0];
  }
  mul(a: Value, b: Value): Value {
    return this.call('mul', [a, b], {})[0];
  }
  scale(x: Value, factor: number): Value {
    return this.call('scale', [x], { factor })[0];
  }
  softCap(x: Value, cap: number): Value {
    return this.call('soft_cap', [x], { cap })[0];
  }
  columnSelect(x: Value, indices: Value): Value {
    return this.call('column_select', [x, indices], {})[0];
  }
  concat(a: Value, b: Value): Value {
    return this.call('concat', [a, b], {})[0];
  }
  /** Which experts each row goes to, and their weights. */
  route(logits: Value, bias: Value | undefined, rule: Routing): { ids: Value; weights: Value } {
    const [ids, weights] = this.call('route', [logits, bias], {
      used: rule.used,
      scoring: scorings.indexOf(rule.scoring),
      normalise: rule.normalise ? 1 : 0,
      scale: rule.scale,
      groups: rule.groups,
      groups_used: rule.groupsUsed,
      group_score: groupScores.indexOf(rule.groupScore),
    });
    return { ids, weights };
  }
  /** gate, up: [experts · columns, in]; the result is [rows, used · columns]. */
  expertGateUp(
    x: Value,
    [gate, up]: readonly [Value, Value],
    ids: Value,
    { experts, activation }: { experts: number; activation: (typeof activations)[number] },
  ): Value {
    return this.call('expert_gate_up', [x, gate, up, ids], { experts, activation: activations.indexOf(activation) })[0];
  }
  /** weight: [experts · out, in]; x is what `expertGateUp` gave. */
  expertDown(x: Value, weight: Value, { ids, weights }: { ids: Value; weights: Value }, experts: number): Value {
    return this.call('expert_down', [x, weight, ids, weights], { experts })[0];
  }
  sigmoidGate(x: Value, gate: Value): Value {
    return this.call('sigmoid_gate', [x, gate], {})[0];
  }
  rowSelect(x: Value, indices: Value): Value {
    return this.call('row_select', [x, indices], {})[0];
  }
  softmax(x: Value): Value {
    return this.call('softmax', [x], {})[0];
  }
  logSoftmax(x: Value): Value {
    return this.call('log_softmax', [x], {})[0];
  }

  finish(
    outputs: Readonly<Record<string, Value>>,
    kv?: KvShape,
    more: Pick<Program, 'taps' | 'feedback'> = {},
  ): Program {
    return { name: this.name, values: this.values, calls: this.calls, outputs, kv, ...more };
  }

  /** Appends a call of any op; the typed methods above are this with names. */
  call(op: OpName, inputs: readonly (Value | undefined)[], attributes: Readonly<Record<string, number>>): Value[] {
    const signature: OpSignature = ops[op];
    const numbers = signature.attributes.map(({ name, fallback, words }) => {
      const value = attributes[name] ?? fallback;
      if (value === undefined || !Number.isFinite(value) || (words && words[value] === undefined)) {
        throw new VivaceError('INVALID_ARGUMENT', `${this.where(op)}: attribute ${name} is ${value}`);
      }
      return value;
    });
    const outputs = signature
      .infer(this.checker(op, signature, inputs, numbers))
      .map((shape, index) =>
        this.value({ ...shape, name: `${op}.${this.calls.length}${index ? `.${index}` : ''}`, kind: 'value' }),
      );
    this.calls.push({ op, inputs, outputs, attributes: numbers });
    return outputs;
  }

  /** x with its columns in the order of the weight's; once for all weights of one order. */
  private inOrderOf(weight: Value, x: Value): Value {
    const order = this.orders.get(weight);
    if (!order) return x;
    const same = (other: Int32Array): boolean =>
      other.length === order.length && other.every((column, index) => column === order[index]);
    const known = this.sorted.find((entry) => entry.x === x && same(entry.order));
    if (known) return known.y;
    const y = this.columnSelect(x, this.constant(`${weight.name}.order`, 1, order.length, order));
    this.sorted.push({ x, order, y });
    return y;
  }

  private checker(
    op: OpName,
    signature: OpSignature,
    inputs: readonly (Value | undefined)[],
    numbers: number[],
  ): Checker {
    const optional = (name: string): Value | undefined => inputs[signature.inputs.indexOf(name)];
    return {
      optional,
      input: (name) => {
        const value = optional(name);
        if (!value) throw new VivaceError('INVALID_ARGUMENT', `${this.where(op)}: input ${name} is missing`);
        return value;
      },
      attribute: (name) => numbers[signature.attributes.findIndex((attribute) => attribute.name === name)],
      require: (condition, tensor, message) => {
        if (condition) return;
        const value = optional(tensor);
        const named = value ? ` (\`${value.name}\` ${shapeOf(value)})` : '';
        throw new VivaceError('SHAPE_MISMATCH', `${this.where(op)}: ${tensor}${named} ${message}`);
      },
    };
  }

  private where(op: OpName): string {
    return `${this.name}, call ${this.calls.length} (${op})`;
  }

  private value(description: Omit<Value, 'id'>): Value {
    const value = { ...description, id: this.values.length };
    this.values.push(value);
    return value;
  }
}
