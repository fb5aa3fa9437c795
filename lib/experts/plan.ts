// How a budget is spent on experts, from configuration and tensor table alone: before anything is loaded.
import { VivaceError } from '../errors.js';
import type { ModelSource, TensorSource } from '../formats/model-source.js';
import type { NativeExperts } from '../native.js';
import { predictedExperts } from '../models/experts.js';
import { resolveExperts, type ExpertOptions, type ResolvedExperts } from './options.js';
import {
  expertPolicies,
  expertPredictors,
  expertReplacements,
  placeExperts,
  type ExpertPlacement,
  type ExpertPolicy,
} from './policies.js';

export interface ExpertPlan {
  readonly policy: ExpertPolicy;
  readonly placement: ExpertPlacement;
  /** The budget, and what of it is used: slots and their tables. */
  readonly memory: number;
  readonly bytes: number;
  /** Bytes of all experts in their files. */
  readonly expertBytes: number;
  /** All experts fit, and are loaded like other weights. */
  readonly resident: boolean;
  /** Experts in memory at once, and bytes of each, blocks of the file system included. */
  readonly slots: number;
  readonly slotBytes: number;
  /** Slots for experts on their way; the others are shared out: */
  readonly staging: number;
  readonly layers: readonly { readonly block: number; readonly slots: number }[];
}

const sides = ['gate', 'up', 'down'] as const;
/** Direct reads are of whole blocks. */
const BLOCK = 4096;
/** Of an expert: its state, the places of its matrices, its part of statistics. */
const TABLE_BYTES = 256;

const nameOf = (block: number, side: string): string => `blk.${block}.ffn_${side}_exps.weight`;

const blocksOf = ({ config }: Pick<ModelSource, 'config'>): number[] =>
  (config.experts?.sparse ?? []).flatMap((sparse, block) => (sparse ? [block] : []));

/** Undefined for dense models and without a budget. Throws OUT_OF_MEMORY with figures, INVALID_ARGUMENT, MISSING_TENSOR. */
export function planExperts(
  source: Pick<ModelSource, 'config' | 'tensors'>,
  options: ExpertOptions | undefined,
): ExpertPlan | undefined {
  return resolvedPlan(source, resolveExperts(options));
}

/** The same for options that are checked. */
export function resolvedPlan(
  source: Pick<ModelSource, 'config' | 'tensors'>,
  { memory, policy, placement, overfetch }: ResolvedExperts,
): ExpertPlan | undefined {
  const { experts } = source.config;
  if (!experts || memory === undefined) return undefined;
  const { count, used } = experts;
  const blocks = blocksOf(source);
  const matrices = blocks.map((block) => sides.map((side) => matrixOf(source, block, side).bytes / count));
  const slotBytes = Math.max(...matrices.map((layer) => layer.reduce((sum, bytes) => sum + padded(bytes), 0)));
  const expertBytes = matrices.flat().reduce((sum, bytes) => sum + bytes * count, 0);
  const tables = blocks.length * count * TABLE_BYTES;
  const own = { policy, placement, memory, expertBytes, slotBytes };
  if (expertBytes <= memory) {
    const layers = blocks.map((block) => ({ block, slots: count }));
    return { ...own, bytes: expertBytes, resident: true, slots: blocks.length * count, staging: 0, layers };
  }
  const slots = Math.min(Math.floor((memory - tables) / slotBytes), blocks.length * count);
  const predicts = expertPolicies[policy].predictor !== 'none';
  const least = predicts ? Math.min(count, used + overfetch) : used;
  if (slots < least) {
    const needed = least * slotBytes + tables;
    throw new VivaceError(
      'OUT_OF_MEMORY',
      `Experts have ${memory} bytes of memory, room for ${Math.max(0, slots)} of ${slotBytes} bytes; a layer needs ${least} at a time` +
        (predicts ? ` (${used} of a row, and what is predicted beyond)` : ''),
      { remedy: `Give experts at least ${needed} bytes.` },
    );
  }
  const staging = Math.min(slots, (predicts ? 2 : 1) * least);
  const capacities = placeExperts(placement, blocks.length, count, slots - staging);
  const layers = blocks.map((block, index) => ({ block, slots: capacities[index] }));
  return { ...own, bytes: slots * slotBytes + tables, resident: false, slots, staging, layers };
}

/** Layers ask the next one's router. */
export const foresees = (plan: ExpertPlan | undefined): boolean =>
  plan !== undefined && !plan.resident && expertPolicies[plan.policy].predictor === 'router';

/** Tensors that the plan leaves in their files. */
export const storedTensors = (plan: ExpertPlan | undefined): ReadonlySet<string> =>
  new Set(plan && !plan.resident ? plan.layers.flatMap(({ block }) => sides.map((side) => nameOf(block, side))) : []);

/** What native code needs to know of a plan that is not resident. */
export function nativeExperts(
  source: Pick<ModelSource, 'config' | 'tensors' | 'files'>,
  plan: ExpertPlan,
  options: ResolvedExperts,
): NativeExperts {
  const { experts } = source.config;
  if (!experts) throw new VivaceError('INTERNAL', 'A plan of experts for a dense model');
  const { count } = experts;
  const row = expertPolicies[plan.policy];
  const tensors = plan.layers.map(({ block }) => sides.map((side) => matrixOf(source, block, side)));
  const places = tensors.flatMap((layer) => {
    const found = layer.map((tensor) => matrixPlaces(tensor, count));
    return Array.from({ length: count }, (_, expert) => found.flatMap((of) => of[expert])).flat();
  });
  return {
    files: source.files,
    experts: count,
    slots: plan.slots,
    capacities: Int32Array.from(plan.layers, ({ slots }) => slots),
    bytes: Float64Array.from(tensors.flat(), ({ bytes }) => bytes / count),
    places: Float64Array.from(places),
    replacement: expertReplacements.indexOf(row.replacement),
    predictor: expertPredictors.indexOf(options.script ? 'script' : row.predictor),
    predictedMost: predictedExperts(experts, options.overfetch),
    pipelined: row.pipelined,
    readers: options.readers,
    chunkBytes: options.chunkBytes,
    bytesPerSecond: options.bytesPerSecond,
    delayUs: options.delayUs,
    ...nativeScript(options.script, plan.layers.length),
  };
}

/** [runs, layers, most], with −1 where fewer are predicted. */
function nativeScript(
  script: ResolvedExperts['script'] = [],
  layers: number,
): { script: Int32Array; scriptMost: number } {
  const scriptMost = Math.max(0, ...script.flat().map(({ length }) => length));
  const ids = new Int32Array(script.length * layers * scriptMost).fill(-1);
  script.forEach((run, at) => run.forEach((list, layer) => ids.set(list, (at * layers + layer) * scriptMost)));
  return { script: ids, scriptMost };
}

const padded = (bytes: number): number => Math.ceil(bytes / BLOCK) * BLOCK + BLOCK;

function matrixOf({ tensors }: Pick<ModelSource, 'tensors'>, block: number, side: string): TensorSource {
  const found = tensors.get(nameOf(block, side));
  if (!found) throw new VivaceError('MISSING_TENSOR', `The model file has no tensor \`${nameOf(block, side)}\``);
  if (found.packed) {
    throw new VivaceError(
      'UNSUPPORTED_FEATURE',
      `Experts of a quantised checkpoint (\`${found.name}\`) must be in memory`,
      {
        remedy: 'Load the model without `experts.memory`, or convert it to GGUF.',
      },
    );
  }
  return found;
}

/** [file, offset] of each expert's matrix. Throws UNSUPPORTED_FEATURE for one that lies in pieces. */
function matrixPlaces(tensor: TensorSource, count: number): (readonly [number, number])[] {
  const size = tensor.bytes / count;
  const pieces = tensor.parts ?? [tensor];
  let begin = 0;
  const places: [number, number][] = [];
  for (const { file, offset, bytes } of pieces) {
    while (places.length < count && places.length * size < begin + bytes) {
      const at = places.length * size - begin;
      if (at < 0 || at + size > bytes) {
        throw new VivaceError('UNSUPPORTED_FEATURE', `An expert of \`${tensor.name}\` does not lie in one piece`);
      }
      places.push([file, offset + at]);
    }
    begin += bytes;
  }
  return places;
}
