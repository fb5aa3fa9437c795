// A judge's head: a vector of the hidden state's width that says of a drafted token whether it is right; and its file.
// The file's layout: safetensors with judge.weight [1, width] and judge.bias [1], both F32, and the rest as metadata.
import { VivaceError, expected } from '../../../errors.js';
import { openSafetensors } from '../../../formats/safetensors.js';
import { readExactly, withFile } from '../../../formats/file.js';
import { writeSafetensors } from '../../../formats/safetensors-writer.js';
import type { WalkJudge } from '../../../program/executor.js';

/** One choice of a threshold, as measured on examples that the head was not trained on. */
export interface JudgeThreshold {
  readonly threshold: number;
  /** Of the wrong tokens, the share that is refused. */
  readonly recall: number;
  /** Of the refused tokens, the share that is wrong. */
  readonly precision: number;
  /** Share of all that is kept. */
  readonly accepted: number;
}

export const judgeFeatures = ['final_norm', 'pre_norm'] as const;
export type JudgeFeature = (typeof judgeFeatures)[number];

/** The value of a model's program that has it. */
export const tapOf = (feature: JudgeFeature = 'final_norm'): WalkJudge['feature'] =>
  feature === 'final_norm' ? 'hidden' : 'unnormed';

export interface JudgeHead {
  /** [width]; the feature is the hidden state at the row whose input is the token. */
  readonly weights: Float32Array;
  readonly bias: number;
  /** A token is right where sigmoid(weights · hidden + bias) is above it; 0 to 1. */
  readonly threshold: number;
  readonly thresholds: readonly JudgeThreshold[];
  /** `judge`: from annotated answers; `autojudge`: mined by a checker of final answers. */
  readonly kind: 'judge' | 'autojudge';
  /** Whether the hidden state is read after the final norm or before it. Default `final_norm`. */
  readonly feature?: JudgeFeature;
  /** The model's name, and `Model.fingerprint()`. */
  readonly target: string;
  readonly targetHash: string;
  /** Scores of a fixed text's tokens, to see that features are taken as they were in training. */
  readonly probe?: { readonly tokens: readonly number[]; readonly scores: readonly number[] };
}

const FORMAT = 'judge-v1';

/** Writes a head. Throws FILE_*. */
export function writeHead(path: string, head: JudgeHead): void {
  const { weights, bias, threshold, thresholds, kind, target, targetHash, probe, feature = 'final_norm' } = head;
  const bytes = (values: Float32Array): Buffer => Buffer.from(values.buffer, values.byteOffset, values.byteLength);
  writeSafetensors(path, {
    tensors: [
      { name: 'judge.weight', type: 'F32', shape: [1, weights.length], data: bytes(weights) },
      { name: 'judge.bias', type: 'F32', shape: [1], data: bytes(Float32Array.of(bias)) },
    ],
    metadata: {
      format: FORMAT,
      kind,
      target,
      target_hash: targetHash,
      feature,
      threshold: String(threshold),
      thresholds_json: JSON.stringify(thresholds),
      ...(probe ? { probe_json: JSON.stringify(probe) } : {}),
    },
  });
}

/** Reads a head. Throws FILE_*, FORMAT_*, UNSUPPORTED_FEATURE for features that are none of a model alone. */
export function readHead(path: string): JudgeHead {
  const { tensors, metadata } = openSafetensors(path);
  const invalid = (what: string): VivaceError =>
    new VivaceError('FORMAT_INVALID', `${path} is no judge's head: ${what}`);
  if (metadata.get('format') !== FORMAT) throw invalid(`its format is ${metadata.get('format') ?? 'not named'}`);
  const [weight, bias] = ['judge.weight', 'judge.bias'].map((name) => tensors.get(name));
  const isVector = weight?.type === 'F32' && weight.shape.length === 2 && weight.shape[0] === 1 && weight.shape[1] > 0;
  if (!isVector || bias?.type !== 'F32' || bias.bytes !== 4) throw invalid('judge.weight or judge.bias is missing');
  const feature = metadata.get('feature') ?? 'final_norm';
  if (feature !== 'final_norm' && feature !== 'pre_norm') {
    throw new VivaceError('UNSUPPORTED_FEATURE', `${path}: heads on \`${feature}\` are not supported`, {
      remedy: 'Train one on the model’s hidden state, after the final norm or before it.',
    });
  }
  const kind = metadata.get('kind');
  if (kind !== 'judge' && kind !== 'autojudge') throw invalid(`its kind is ${kind ?? 'not named'}`);
  const threshold = Number(metadata.get('threshold') ?? 0.5);
  if (!(threshold >= 0 && threshold <= 1)) throw invalid('its threshold is not from 0 to 1');
  const weights = new Float32Array(weight.bytes / 4);
  const offset = new Float32Array(1);
  withFile(path, (fd) => {
    for (const [tensor, values] of [
      [weight, weights],
      [bias, offset],
    ] as const) {
      readExactly(path, fd, new Uint8Array(values.buffer), tensor.offset);
    }
  });
  if (![...weights, ...offset].every(Number.isFinite)) throw invalid('it has values that are no numbers');
  const parsed = <T>(name: string): T | undefined => {
    const text = metadata.get(name);
    try {
      return text === undefined ? undefined : (JSON.parse(text) as T);
    } catch {
      throw invalid(`${name} cannot be read`);
    }
  };
  const probe = parsed<NonNullable<JudgeHead['probe']>>('probe_json');
  return {
    weights,
    bias: offset[0],
    threshold,
    thresholds: parsed<JudgeThreshold[]>('thresholds_json') ?? [],
    kind,
    target: metadata.get('target') ?? '',
    targetHash: metadata.get('target_hash') ?? '',
    ...(feature === 'final_norm' ? {} : { feature }),
    ...(probe ? { probe } : {}),
  };
}

/** A head that a caller gives. Throws INVALID_ARGUMENT. */
export function checkHead(given: unknown): JudgeHead {
  const head = given as JudgeHead | undefined;
  if (!(head?.weights instanceof Float32Array) || head.weights.length === 0 || typeof head.bias !== 'number') {
    throw expected('a judge’s head', 'head', given, 'Read one with `loadJudge(file, model)`.');
  }
  return head;
}
