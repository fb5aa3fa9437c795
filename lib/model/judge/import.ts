// Heads that the authors of AutoJudge export for their patch of vLLM: a pickle of { mean, scale, weights, bias, thr, thresholds }.
import { expected, VivaceError } from '../../errors.js';
import { readPickle, type Plain } from '../../decode/speculation/judge/plain-pickle.js';
import { fold } from '../../decode/speculation/judge/train.js';
import type { JudgeHead } from '../../decode/speculation/judge/head.js';
import { readSmallFile } from '../../formats/file.js';
import { Model } from '../model.js';
import { headOf } from './head.js';

const MOST_BYTES = 1 << 26;

/** A file that begins as Python's pickles do. */
export const isPickle = (bytes: Uint8Array): boolean => bytes[0] === 0x80;

/**
 * Reads such a file without running anything of it (`readPickle`), folds the scaler into the weights and turns the sign: those heads
 * say how probable it is that a token matters, ours that it may stay. `thr` is a placeholder there, so find a threshold with
 * `vivace evaluate`. The head is for this model from then on; whether it was trained for it, the file does not say.
 *
 * Throws FILE_*, FORMAT_INVALID, UNSUPPORTED_FEATURE for other pickles (those of scikit-learn's objects, too), SHAPE_MISMATCH.
 */
export async function importAutoJudge(file: string, model: Model): Promise<JudgeHead> {
  if (typeof file !== 'string' || file === '') throw expected('a path', 'file', file);
  if (!(model instanceof Model)) throw expected('a model that was loaded', 'model', model);
  const bytes = readSmallFile(file, MOST_BYTES);
  if (!bytes) throw new VivaceError('FILE_NOT_FOUND', `No such file: ${file}`, { remedy: 'Check the path.' });
  if (!isPickle(bytes)) throw new VivaceError('FORMAT_INVALID', `${file} is no pickle`);
  const found = readPickle(bytes, file);
  const [mean, scale, weights] = ['mean', 'scale', 'weights'].map((name) => numbers(found, name));
  const [intercept] = numbers(found, 'bias') ?? [];
  const sound = mean && scale && weights && mean.length === weights.length && scale.length === weights.length;
  if (!sound || intercept === undefined || ![...mean, ...scale, ...weights, intercept].every(Number.isFinite)) {
    throw new VivaceError('FORMAT_INVALID', `${file} has no head: mean, scale, weights and bias that belong together`, {
      remedy:
        'Export it with the option `--convert_to_vllm` of its training, with the target’s hidden state alone (DT).',
    });
  }
  const width = model.hiddenWidth();
  if (weights.length !== width) {
    throw new VivaceError(
      'SHAPE_MISMATCH',
      `${file} has ${weights.length} weights, the model's hidden state ${width} values`,
      { remedy: 'Heads that also read the drafter’s hidden state are not supported: train one with the setup DT.' },
    );
  }
  const unit = scale.map((value) => (value === 0 ? 1 : value));
  const head = fold({ coefficients: weights.map((value) => -value), intercept: -intercept }, mean, unit);
  const [thr = 0.5] = numbers(found, 'thr') ?? [];
  const threshold = Math.min(1, Math.max(0, 1 - thr));
  return headOf(model, { ...head, threshold, thresholds: [], c: NaN, auc: NaN }, 'autojudge', model.info.name ?? '');
}

function numbers(found: Plain, name: string): Float64Array | undefined {
  const value = found instanceof Map ? found.get(name) : undefined;
  if (value instanceof Float64Array) return value;
  if (typeof value === 'number') return Float64Array.of(value);
  return undefined;
}
