// Heads of judges and the models that they belong to: loading, with checks, and saving.
import { readHead, writeHead, type JudgeFeature, type JudgeHead } from '../../decode/speculation/judge/head.js';
import type { TrainedJudge } from '../../decode/speculation/judge/train.js';
import { scoresOf } from '../../decode/speculation/judge/train.js';
import { expected, VivaceError } from '../../errors.js';
import { readExactly, withFile } from '../../formats/file.js';
import { Model } from '../model.js';
import { hiddenStates } from './features.js';

const PROBE = 'The quick brown fox said 12 words; then it went home, and slept.';
const MOST_PROBE = 64;

/**
 * Reads a head for `speculation.verifier: { name: 'judge', head }` and checks that it belongs to the model: its width, the
 * model's fingerprint, and the scores of a fixed text, which tell whether features are computed as they were in training.
 *
 * Throws FILE_*, FORMAT_*, SHAPE_MISMATCH, and INVALID_ARGUMENT for a head of another model, unless `force`.
 */
export async function loadJudge(
  file: string,
  model: Model,
  options: { readonly force?: boolean } = {},
): Promise<JudgeHead> {
  if (typeof file !== 'string' || file === '') throw expected('a path', 'file', file);
  if (!(model instanceof Model)) throw expected('a model that was loaded', 'model', model);
  const { force = false } = options;
  if (typeof force !== 'boolean') throw expected('true or false', 'force', force);
  if (readBeginning(file) === 0x80) {
    throw new VivaceError('FORMAT_INVALID', `${file} is a pickle`, {
      remedy:
        'If AutoJudge exported it, `importAutoJudge(file, model)` reads it, and `vivace evaluate … --save` keeps it.',
    });
  }
  const head = readHead(file);
  const width = model.hiddenWidth();
  if (head.weights.length !== width) {
    throw new VivaceError(
      'SHAPE_MISMATCH',
      `${file} has ${head.weights.length} weights, the model's hidden state ${width} values`,
    );
  }
  if (force) return head;
  if (head.targetHash !== model.fingerprint()) {
    throw new VivaceError('INVALID_ARGUMENT', `${file} was trained for another model (${head.target})`, {
      remedy: 'Train one for this model, or load it with `force: true`: what it accepts was never measured here.',
    });
  }
  if (head.probe) {
    const now = await probeOf(model, head, head.probe.tokens);
    const worst = now.reduce((most, score, i) => Math.max(most, Math.abs(score - head.probe!.scores[i])), 0);
    const size = head.probe.scores.reduce((most, score) => Math.max(most, Math.abs(score)), 1);
    if (!(worst <= 0.02 * size)) {
      throw new VivaceError(
        'INVALID_ARGUMENT',
        `${file} scores its test text otherwise than in training (by ${worst})`,
        {
          remedy: 'Weights or caches of other types move features: train it again, or load it with `force: true`.',
        },
      );
    }
  }
  return head;
}

/** The head of what was trained, on that feature of this model, with the scores that `loadJudge` compares. */
export async function headOf(
  model: Model,
  trained: TrainedJudge,
  kind: JudgeHead['kind'],
  name: string,
  feature: JudgeFeature = 'final_norm',
): Promise<JudgeHead> {
  const { weights, bias, threshold, thresholds } = trained;
  const tokens = [...model.tokenizer.encode(PROBE)].slice(0, MOST_PROBE);
  const belongs = { kind, target: name, targetHash: model.fingerprint() };
  const read = feature === 'final_norm' ? {} : { feature };
  const plain = { weights, bias, threshold, thresholds, ...belongs, ...read };
  return { ...plain, probe: { tokens, scores: await probeOf(model, plain, tokens) } };
}

/** Writes a head as safetensors. Throws FILE_*. */
export function saveJudge(file: string, head: JudgeHead): void {
  writeHead(file, head);
}

/** The first byte. */
function readBeginning(file: string): number {
  const byte = new Uint8Array(1);
  withFile(file, (fd, size) => size > 0 && readExactly(file, fd, byte, 0));
  return byte[0];
}

async function probeOf(
  model: Model,
  head: Pick<JudgeHead, 'weights' | 'bias' | 'feature'>,
  tokens: readonly number[],
): Promise<number[]> {
  const states = await hiddenStates(model, tokens, head.feature);
  const width = head.weights.length;
  return scoresOf(
    tokens.map((_, row) => ({ hidden: states.subarray(row * width, (row + 1) * width) })),
    head,
  );
}
