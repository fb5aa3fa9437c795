// Quantises a model: reads any that vivace opens, writes a GGUF file or a safetensors directory, a few rows at a time.
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { checkNames, integer, signal as checkSignal, word } from '../decode/option-checks.js';
import { expected, VivaceError } from '../errors.js';
import { writingFile } from '../formats/file.js';
import { openModelFile } from '../formats/open.js';
import { ggufOutput, type Output } from './gguf-output.js';
import { RowReader } from './rows.js';
import { copySmallFiles, safetensorsOutput } from './safetensors-output.js';
import { quantizeTypes, targetOf, type QuantizeType, type SafetensorsTarget } from './types.js';

export interface QuantizeOptions {
  /** A type or mixture of GGUF (`Q4_K_M`, `Q8_0` …), or `W4A16`, `W8A8` for a safetensors directory. */
  readonly type: QuantizeType;
  /** Default: one per core, 16 at most. */
  readonly threads?: number;
  /** Called with a fraction from 0 to 1. */
  readonly onProgress?: (fraction: number) => void;
  /** Gives up with ABORTED and leaves nothing behind. */
  readonly signal?: AbortSignal;
}

export interface QuantizeResult {
  readonly path: string;
  /** Of the written weights. */
  readonly bytes: number;
  /** Tensors that got another type than asked for, in words. */
  readonly notes: readonly string[];
}

/**
 * Reads a model of any format and type, rounds its weights to nearest (K types: by their searches) and writes them as
 * `output`: a GGUF file, or for W4A16 and W8A8 a new directory. The output appears when it is complete. Needs memory for a
 * few rows, not for the model. Throws INVALID_ARGUMENT, FILE_*, FORMAT_*, UNSUPPORTED_*, ABORTED.
 */
export async function quantizeModel(input: string, output: string, options: QuantizeOptions): Promise<QuantizeResult> {
  checkNames(options, ['type', 'threads', 'onProgress', 'signal'], 'the options of quantizeModel');
  if (typeof output !== 'string' || output === '') throw expected('a path', 'output', output);
  const target = targetOf(word('type', options.type, 'Q4_K_M', quantizeTypes));
  const threads = integer('threads', options.threads, Math.min(availableParallelism(), 16), 1, 256);
  const signal = checkSignal('signal', options.signal);
  const source = openModelFile(input);
  if (source.files.some((file) => resolve(file) === resolve(output)) || resolve(input) === resolve(output)) {
    throw expected('another path than the input', 'output', output);
  }
  const reader = new RowReader(source, threads);
  const write = (path: string, made: Output): Promise<void> => run(path, made, options.onProgress, signal);
  try {
    if (target.container === 'gguf') {
      const made = ggufOutput(source, reader, target);
      await write(output, made);
      return { path: output, bytes: made.bytes, notes: made.notes };
    }
    const directory = statSync(input).isDirectory() ? input : dirname(input);
    return await writeDirectory(directory, output, safetensorsOutput(directory, source, reader, target), target, write);
  } finally {
    reader.close();
  }
}

async function run(
  path: string,
  { parts, bytes }: Output,
  onProgress: QuantizeOptions['onProgress'],
  signal?: AbortSignal,
): Promise<void> {
  onProgress?.(0);
  for (const written of writingFile(path, parts)) {
    onProgress?.(Math.min(1, written / bytes));
    // The event loop turns, so that an abort can be heard.
    await new Promise((done) => setImmediate(done));
    if (signal?.aborted) throw new VivaceError('ABORTED', 'Quantising was aborted', { cause: signal.reason });
  }
}

async function writeDirectory(
  input: string,
  output: string,
  made: ReturnType<typeof safetensorsOutput>,
  target: SafetensorsTarget,
  write: (path: string, made: Output) => Promise<void>,
): Promise<QuantizeResult> {
  if (existsSync(output) && (!statSync(output).isDirectory() || readdirSync(output).length > 0)) {
    throw expected('a new or empty directory', 'output', output);
  }
  const temporary = `${output.replace(/[\\/]+$/, '')}.part`;
  try {
    rmSync(temporary, { recursive: true, force: true });
    mkdirSync(temporary, { recursive: true });
    copySmallFiles(input, temporary, target, made.ignored);
    await write(join(temporary, 'model.safetensors'), made);
    rmSync(output, { recursive: true, force: true });
    renameSync(temporary, output);
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true });
    throw error;
  }
  return { path: output, bytes: made.bytes, notes: made.notes };
}
