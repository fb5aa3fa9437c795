// Opens a model file and makes it ready to run.
import { join, resolve } from 'node:path';
import { checkNames, integer, signal as checkSignal, word } from '../decode/option-checks.js';
import { expected, VivaceError } from '../errors.js';
import { createPrefixCache, hostMemory, type PrefixCacheOptions } from '../decode/prefix-cache.js';
import { ModelExperts } from '../experts/model-experts.js';
import { resolveExperts, type ExpertOptions } from '../experts/options.js';
import { foresees, nativeExperts, resolvedPlan, storedTensors } from '../experts/plan.js';
import { openModelFile } from '../formats/open.js';
import { createTokenizer } from '../formats/tokenizer/tokenizer.js';
import { WeightStore } from '../formats/weight-store.js';
import { buildProgram } from '../models/registry.js';
import { requireProbed } from '../program/device-probe.js';
import { NativeExecutor } from '../program/native-executor.js';
import { loadPlaced } from './evaluation/auto-placement.js';
import { Model } from './model.js';
import type * as references from './reference.js';
import { BYTES_PER_THREAD, defaultThreads } from './threads.js';

const devices = ['auto', 'cpu', 'cuda', 'cuda-emulated', 'reference'] as const;

export type Device = (typeof devices)[number];

const repacks = ['background', 'load', 'never'] as const;

export type Repack = (typeof repacks)[number];

export interface LoadOptions {
  /** Where to run. Default `auto`: the best there is. */
  readonly device?: Device;
  /** Threads of a run at most: small models use fewer for small ones. Default: one per core. */
  readonly threads?: number;
  /** Tokens that a session may hold at most. Default: what the model was made for. */
  readonly contextLength?: number;
  /**
   * Rewrite quantised weights in memory in the order that this processor reads fastest, and give the file's memory back:
   * between the first runs (`background`, the default), before loadModel resolves (`load`), or not at all (`never`):
   * weights then stay in the mapped file, which processes share, and decoding is slower. Results are the same.
   */
  readonly repack?: Repack;
  /**
   * Keep what has been computed of texts, also when their sessions are gone, for prompts that begin the same
   * (docs/systems/prefix-cache.md). Default true.
   */
  readonly prefixCache?: boolean | PrefixCacheOptions;
  /** Of a mixture of experts (docs/experts.md); dense models take no notice. */
  readonly experts?: ExpertOptions;
  /** Called with a fraction from 0 to 1 and a word for what is being done. */
  readonly onProgress?: (fraction: number, stage: string) => void;
  /** Gives up with ABORTED. */
  readonly signal?: AbortSignal;
}

/** The package; dist/ and lib/ both lie directly in it. */
const packageRoot = resolve(__dirname, '..', '..');

/** The small model that comes with the package. */
export const embeddedModelPath = (): string => join(packageRoot, 'models', 'vivace-tiny.gguf');

/**
 * Opens a GGUF file or a Hugging Face directory and makes it ready to run; without a path, or with `default`, the embedded
 * model. Weights are mapped, not read: they come in with the first run. Throws FILE_*, FORMAT_*, UNSUPPORTED_*,
 * MISSING_TENSOR, SHAPE_MISMATCH, DEVICE_UNAVAILABLE, NATIVE_LOAD_FAILED, OUT_OF_MEMORY, ABORTED.
 */
export async function loadModel(path?: string, options: LoadOptions = {}): Promise<Model> {
  checkNames(
    options,
    ['device', 'threads', 'contextLength', 'repack', 'prefixCache', 'experts', 'onProgress', 'signal'],
    'the options of loadModel',
  );
  const { onProgress } = options;
  if (onProgress !== undefined && typeof onProgress !== 'function') {
    throw expected('a function', 'onProgress', onProgress);
  }
  const device = chooseDevice(word('device', options.device, 'auto', devices));
  const threads = integer('threads', options.threads, defaultThreads(), 1, 1024);
  const repack = word('repack', options.repack, 'background', repacks);
  createPrefixCache(options.prefixCache, 1).close(); // checks it
  const experts = resolveExperts(options.experts);
  if (options.experts?.placement === 'auto')
    return loadPlaced(options.experts, (own) => loadModel(path, { ...options, experts: own }));
  const signal = checkSignal('signal', options.signal);
  // Between steps the event loop turns, so that an abort can be heard.
  const step = async (fraction: number, stage: string): Promise<void> => {
    onProgress?.(fraction, stage);
    await new Promise((done) => setImmediate(done));
    if (signal?.aborted) throw new VivaceError('ABORTED', 'Loading was aborted', { cause: signal.reason });
  };
  await step(0, 'opening');
  if (device === 'cuda') await requireProbed(device, signal);
  const source = openModelFile(path === undefined || path === 'default' ? embeddedModelPath() : path);
  if (source.config.experts && experts.trace && device !== 'cpu') {
    throw new VivaceError('UNSUPPORTED_FEATURE', `What routers choose is recorded on the CPU only, not on ${device}`, {
      remedy: "Load it with device: 'cpu', or without `experts.trace`.",
    });
  }
  const trained = source.config.contextLength;
  const contextLength = integer('contextLength', options.contextLength, trained, 1, 2 ** 30);
  await step(0.2, 'tokenizer');
  const tokenizer = createTokenizer(source.tokenizer);
  await step(0.4, 'weights');
  const plan = resolvedPlan(source, experts);
  if (plan && device !== 'cpu') {
    throw new VivaceError('UNSUPPORTED_FEATURE', `Experts are read from their file on the CPU only, not on ${device}`, {
      remedy: "Load it with device: 'cpu', or without `experts.memory`.",
    });
  }
  const stored = storedTensors(plan);
  const store = new WeightStore(source, threads);
  try {
    for (const fraction of store.conversions(stored)) await step(0.4 + 0.2 * fraction, 'weights');
    const program = buildProgram(source.config, (tensor) => store.info(tensor), {
      contextLength,
      readVector: (tensor) => store.vector(tensor),
      ...(experts.trace || foresees(plan) ? { lookahead: experts.overfetch } : {}),
    });
    const executor =
      device === 'reference'
        ? (require('./reference.js') as typeof references).referenceExecutor(program, () => store)
        : new NativeExecutor(program, (tensor) => (stored.has(tensor) ? null : store.bind(tensor)), {
            ...(plan && !plan.resident ? { experts: nativeExperts(source, plan, experts) } : {}),
            threads,
            bytesPerThread: BYTES_PER_THREAD,
            repack: false,
            deviceName: device,
          });
    const card = executor instanceof NativeExecutor ? executor.deviceMemory : undefined;
    const kept = Math.floor(card === undefined ? hostMemory() / 16 : card / 8);
    const prefixCache = createPrefixCache(options.prefixCache, kept);
    const told = new ModelExperts(source.config, executor, experts, plan);
    const model = new Model(source, tokenizer, executor, store, contextLength, prefixCache, told);
    try {
      if (repack === 'load' && executor instanceof NativeExecutor)
        for await (const fraction of executor.repack()) await step(0.6 + 0.4 * fraction, 'weights');
      await step(1, 'ready');
      if (repack === 'background' && executor instanceof NativeExecutor) void executor.repackInBackground();
    } catch (error) {
      model.dispose();
      throw error;
    }
    return model;
  } catch (error) {
    store.close();
    throw error;
  }
}

/** `auto` stays on the CPU until the kernels for cards have run on one. */
const chooseDevice = (device: Device): Exclude<Device, 'auto'> => (device === 'auto' ? 'cpu' : device);
