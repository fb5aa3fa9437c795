// The parts of which decoder-only families are composed: embedding, attention, feed-forward, head, all read from one config.
import { expected, VivaceError } from '../errors.js';
import type { ExpertsConfig, ModelConfig } from '../formats/model-config.js';
import { ProgramBuilder, type WeightInfo } from '../program/builder.js';
import type { activations } from '../program/ops.js';
import type { KvShape, Program, Value } from '../program/program.js';
import { expertFeedForward, routeRows } from './experts.js';
import { ropeVectors, usesLongFactors } from './rope.js';

/** The model file's tensors by canonical name; vectors are F32, as the loader makes them. */
export type WeightLookup = (tensor: string) => WeightInfo | undefined;

export interface BuildOptions {
  /** Positions that will be served at most. */
  readonly contextLength: number;
  /** The values of a small tensor; needed for files with rope_freqs or rope_factors tensors. */
  readonly readVector?: (tensor: string) => Float32Array;
  /**
   * Each layer with experts also asks the router of the next one, with what its own router reads, and for so many experts more
   * than a row goes to. Nobody in the program reads the answers; whoever fetches experts does, and traces.
   */
  readonly lookahead?: number;
}

/** A program with inputs tokens, positions [rows] and output_rows [outputs]; its output is logits [outputs, vocab]. */
export type BuildProgram = (config: ModelConfig, weights: WeightLookup, options: BuildOptions) => Program;

export interface AttentionTraits {
  /** RMS norms over each head of q and k, before the rotation. */
  readonly headNorms?: boolean;
  /** q, k and v must have biases; elsewhere they are used where the file has them. */
  readonly biases?: boolean;
}

export class Decoder {
  private readonly builder: ProgramBuilder;
  private readonly tokens: Value; // [rows, 1]
  private readonly positions: Value; // [rows, 1]
  private readonly outputRows: Value; // [outputs, 1]
  private readonly epsilon: number;
  private readonly taps: Record<string, Value> = {};
  private readonly ropeTables = new Map<'global' | 'local', Value>();

  constructor(
    private readonly config: ModelConfig,
    private readonly weights: WeightLookup,
    private readonly options: BuildOptions,
  ) {
    if (!Number.isInteger(options.contextLength) || options.contextLength < 1) {
      throw expected('a positive integer', 'contextLength', options.contextLength);
    }
    this.builder = new ProgramBuilder(config.architecture, weights);
    this.tokens = this.builder.input('tokens', 'I32', 'rows');
    this.positions = this.builder.input('positions', 'I32', 'rows');
    this.outputRows = this.builder.input('output_rows', 'I32', 'outputs');
    // GGUF keeps it in float32; rounding here gives the same bits for config.json's decimal number.
    this.epsilon = Math.fround(config.normEpsilon);
  }

  embed(scale = 1): Value {
    return this.builder.embedding(this.embedding(), this.tokens, scale);
  }

  /** RMS norm by `<tensor>.weight`. */
  norm(x: Value, tensor: string): Value {
    return this.builder.rmsNorm(x, this.builder.weight(`${tensor}.weight`, [x.columns]), this.epsilon);
  }

  /** The residual stream on its way into a layer, which runs may be asked for. */
  into(layer: number, x: Value): Value {
    return (this.taps[`residual.${layer}`] = x);
  }

  add(a: Value, b: Value): Value {
    return this.builder.add(a, b);
  }

  /** Keeps the rows whose logits are wanted: nothing after it needs the others. */
  selectOutputs(x: Value): Value {
    return this.builder.rowSelect(x, this.outputRows);
  }

  attention(x: Value, layer: number, { headNorms = false, biases = false }: AttentionTraits = {}): Value {
    const { width, heads, kvHeads, headDim, valueDim, attentionSoftcap, attentionScale, rope } = this.config;
    const block = `blk.${layer}`;
    if (biases) for (const name of ['q', 'k', 'v']) this.require(`${block}.attn_${name}.bias`);
    const fused = this.builder.has(`${block}.attn_qkv.weight`) ? `${block}.attn_qkv` : undefined;
    let [q, k, v] = this.project(x, fused, [
      [`${block}.attn_q`, heads * headDim],
      [`${block}.attn_k`, kvHeads * headDim],
      [`${block}.attn_v`, kvHeads * valueDim],
    ]);
    if (headNorms) {
      q = this.builder.rmsNorm(q, this.builder.weight(`${block}.attn_q_norm.weight`, [headDim]), this.epsilon);
      k = this.builder.rmsNorm(k, this.builder.weight(`${block}.attn_k_norm.weight`, [headDim]), this.epsilon);
    }
    this.taps[`query.unrotated.${layer}`] = q;
    this.taps[`key.unrotated.${layer}`] = k;
    const table = this.ropeTable(layer);
    q = this.builder.rope(q, table, heads, rope.layout);
    k = this.builder.rope(k, table, kvHeads, rope.layout);
    this.taps[`query.${layer}`] = q;
    this.taps[`key.${layer}`] = k;
    this.builder.kvWrite(k, v, layer);
    const mixed = this.builder.attention(q, {
      layer,
      heads,
      valueDim,
      scale: attentionScale ?? 1 / Math.sqrt(headDim),
      softcap: attentionSoftcap,
      window: this.window(layer),
    });
    return this.project(mixed, undefined, [[`${block}.attn_output`, width]])[0];
  }

  /** `suffix`: of the names of its tensors. */
  feedForward(
    x: Value,
    layer: number,
    activation: (typeof activations)[number],
    { hidden = this.config.hidden, suffix = '' } = {},
  ): Value {
    const { width } = this.config;
    const [gateName, upName] = [`blk.${layer}.ffn_gate${suffix}`, `blk.${layer}.ffn_up${suffix}`];
    // phi3 keeps both in `ffn_up`, the gate first.
    const fused = !this.builder.has(`${gateName}.weight`) && this.weights(`${upName}.weight`)?.shape[0] === 2 * hidden;
    const [gate, up] = this.project(x, fused ? upName : undefined, [
      [gateName, hidden],
      [upName, hidden],
    ]);
    const gated = this.builder.gatedActivation(gate, up, activation);
    return this.project(gated, undefined, [[`blk.${layer}.ffn_down${suffix}`, width]])[0];
  }

  /** What a layer adds to the residual stream x after attention, read from its norm: one dense MLP, or its experts. */
  addFeedForward(x: Value, layer: number): Value {
    const normed = this.norm(x, `blk.${layer}.ffn_norm`);
    const { experts } = this.config;
    if (!experts?.sparse[layer]) return this.add(x, this.feedForward(normed, layer, 'silu'));
    // The router first, and the experts last: what has to be fetched for them is known early.
    const { lookahead: more } = this.options;
    const next = experts.sparse.indexOf(true, layer + 1);
    const foreseen = more !== undefined && next >= 0 ? { layer: next, more } : undefined;
    const routed = routeRows(this.builder, experts, normed, layer, foreseen);
    return this.add(
      this.addShared(x, normed, experts, layer),
      expertFeedForward(this.builder, experts, normed, routed, layer),
    );
  }

  /** The expert that every row goes to, where there is one; with a gate of its own where the file has that. */
  private addShared(x: Value, normed: Value, { sharedHidden: hidden }: ExpertsConfig, layer: number): Value {
    if (hidden === 0) return x;
    const shared = this.feedForward(normed, layer, 'silu', { hidden, suffix: '_shexp' });
    const gate = `blk.${layer}.ffn_gate_inp_shexp.weight`;
    if (this.config.architecture === 'qwen2moe') this.require(gate);
    if (!this.builder.has(gate)) return this.add(x, shared);
    const opened = this.builder.linear(normed, this.builder.weight(gate, [normed.columns])); // [rows, 1]
    return this.add(x, this.builder.sigmoidGate(shared, opened));
  }

  /** Final norm and head over the selected rows. */
  finish(x: Value): Program {
    const hidden = this.norm(x, 'output_norm');
    const taps = { ...this.taps, hidden, unnormed: x };
    return this.builder.finish({ logits: this.logits(hidden) }, this.kv(), { taps });
  }

  /**
   * The head of a drafter: what it says of a row, `left`, is also what the next row reads beside its token. `tokens`: which
   * token each row of its output matrix is, if not all are there.
   */
  finishHead(left: Value, read: Value, { hidden = left, tokens }: { hidden?: Value; tokens?: Int32Array } = {}): Program {
    const feedback = { input: read, output: left };
    const logits = tokens ? this.spread(this.logits(hidden, tokens.length), tokens) : this.logits(hidden);
    return this.builder.finish({ logits, hidden: left }, this.kv(), { feedback });
  }

  /** Values that a run brings beside its tokens, [rows, columns]. */
  features(columns: number): Value {
    return this.builder.input('features', 'F32', 'rows', columns);
  }

  /** The columns of two values side by side. */
  beside(a: Value, b: Value): Value {
    return this.builder.concat(a, b);
  }

  /** A linear map to the model's width, with the bias that the file has. */
  map(x: Value, tensor: string): Value {
    return this.project(x, undefined, [[tensor, this.config.width]])[0];
  }

  /** Logits of some tokens as logits of all; the others' have no weight in any law. */
  private spread(logits: Value, tokens: Int32Array): Value {
    const { vocab } = this.config;
    const first = this.builder.columnSelect(logits, this.builder.constant('first', 1, 1, Int32Array.of(0)));
    const none = constantLike(this.builder, first, -1e30); // [rows, 1]
    const places = new Int32Array(vocab).fill(tokens.length);
    tokens.forEach((token, place) => (places[token] = place));
    return this.builder.columnSelect(
      this.builder.concat(logits, none),
      this.builder.constant('token_places', 1, vocab, places),
    );
  }

  private logits(hidden: Value, vocab = this.config.vocab): Value {
    const { finalSoftcap, tiedEmbedding } = this.config;
    const logits = tiedEmbedding
      ? this.builder.linear(hidden, this.embedding())
      : this.project(hidden, undefined, [['output', vocab]])[0];
    return finalSoftcap ? this.builder.softCap(logits, finalSoftcap) : logits;
  }

  private kv(): KvShape {
    const { layers, kvHeads, headDim, valueDim } = this.config;
    return { layers, kvHeads, keyDim: headDim, valueDim };
  }

  private embedding(): Value {
    return this.builder.weight('token_embd.weight', [this.config.vocab, this.config.width]);
  }

  /** Linear maps of one input, by tensors of their own or by row ranges of `fused`, with the biases that the file has. */
  private project(x: Value, fused: string | undefined, parts: readonly (readonly [tensor: string, rows: number])[]): Value[] {
    if (fused === undefined) {
      return parts.map(([tensor, rows]) => {
        const weight = this.builder.weight(`${tensor}.weight`, [rows, x.columns]);
        const bias = this.builder.has(`${tensor}.bias`) ? this.builder.weight(`${tensor}.bias`, [rows]) : undefined;
        return this.builder.linear(x, weight, bias);
      });
    }
    if (this.builder.has(`${fused}.bias`)) {
      throw new VivaceError('UNSUPPORTED_FEATURE', `linear: the fused tensor \`${fused}.weight\` has a bias`);
    }
    const total = parts.reduce((sum, [, rows]) => sum + rows, 0);
    const found = this.weights(`${fused}.weight`)?.shape ?? [];
    if (found.join() !== [total, x.columns].join()) {
      throw new VivaceError(
        'SHAPE_MISMATCH',
        `linear: tensor \`${fused}.weight\` is [${found.join(', ')}], the configuration implies [${total}, ${x.columns}]`,
      );
    }
    let firstRow = 0;
    return parts.map(([, rows]) => {
      const weight = this.builder.weight(`${fused}.weight`, [rows, x.columns], firstRow);
      firstRow += rows;
      return this.builder.linear(x, weight);
    });
  }

  private require(tensor: string): void {
    if (this.builder.has(tensor)) return;
    throw new VivaceError('MISSING_TENSOR', `${this.config.architecture}: the model file has no tensor \`${tensor}\``);
  }

  private slides(layer: number): boolean {
    return this.config.slidingWindow !== undefined && (this.config.slidingLayers?.[layer] ?? true);
  }

  /** 0 where all positions that will be served are seen anyway. */
  private window(layer: number): number {
    const window = this.slides(layer) ? (this.config.slidingWindow ?? 0) : 0;
    return window < this.options.contextLength ? window : 0;
  }

  /** Angles of all rows, computed once for all layers that share frequencies. */
  private ropeTable(layer: number): Value {
    const { rope, contextLength: trainedContextLength } = this.config;
    const kind = rope.localBase !== undefined && this.slides(layer) ? 'local' : 'global';
    const known = this.ropeTables.get(kind);
    if (known) return known;
    const context = { contextLength: this.options.contextLength, trainedContextLength };
    const { frequencies, magnitude } =
      kind === 'local'
        ? ropeVectors({ ...rope, base: rope.localBase ?? rope.base, scaling: { type: 'none' } }, context)
        : ropeVectors(rope, { ...context, divisors: this.ropeDivisors() });
    const constant = this.builder.constant(`rope_frequencies.${kind}`, 1, frequencies.length, frequencies);
    const table = this.builder.ropeTable(this.positions, constant, magnitude);
    this.ropeTables.set(kind, table);
    return table;
  }

  /** Divisors of the frequencies that GGUF files keep in a tensor. */
  private ropeDivisors(): Float32Array | undefined {
    const { scaling } = this.config.rope;
    let tensor = 'rope_freqs.weight';
    if (scaling.type === 'longrope') {
      tensor = `rope_factors_${usesLongFactors(scaling, this.options.contextLength) ? 'long' : 'short'}.weight`;
    }
    if (!this.builder.has(tensor)) return undefined;
    if (!this.options.readVector) throw expected(`a function that reads ${tensor}`, 'readVector', undefined);
    return this.options.readVector(tensor);
  }
}

/** One number everywhere, of x's shape: there is no op for it, but what a norm multiplies by 0 is its bias. */
export function constantLike(builder: ProgramBuilder, x: Value, number: number): Value {
  const [weight, bias] = [0, number].map((value) =>
    builder.constant(`all_${value}.${x.columns}`, 1, x.columns, new Float32Array(x.columns).fill(value)),
  );
  return builder.layerNorm(x, weight, bias, 1);
}
