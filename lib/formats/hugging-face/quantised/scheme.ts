// How a checkpoint was quantised: `quantization_config` in config.json, in the dialects of the tools that write it.
import { VivaceError } from '../../../errors.js';
import { Fields, isObject } from '../json.js';

/** Weights of one group of compressed-tensors' `config_groups`. */
export interface CompressedGroup {
  readonly targets: readonly string[];
  readonly bits: 4 | 8;
  readonly symmetric: boolean;
  /** Undefined: one scale per row. */
  readonly groupSize?: number;
  /** 8-bit activations with a scale per token. */
  readonly tokens: boolean;
}

export type Scheme =
  | {
      readonly method: 'gptq';
      readonly bits: 2 | 4 | 8;
      readonly symmetric: boolean;
      readonly zeroPlusOne: boolean;
    }
  | { readonly method: 'awq' }
  | { readonly method: 'marlin' }
  | { readonly method: 'qqq' }
  | { readonly method: 'qserve' }
  | { readonly method: 'compressed-tensors'; readonly groups: readonly CompressedGroup[] };

const readable =
  'Readable are GPTQ and Marlin, AWQ (gemm), compressed-tensors (pack-quantized and int-quantized), QQQ and QServe checkpoints.';

export const unsupported = (what: string): VivaceError =>
  new VivaceError('UNSUPPORTED_FEATURE', `The checkpoint is quantised, and ${what}`, {
    remedy: `${readable} Else use the original F16 or BF16 checkpoint, or a GGUF file of the model.`,
  });

/** The scheme, or undefined for plain checkpoints. Throws UNSUPPORTED_FEATURE, naming what vivace does not know. */
export function readScheme(quantization: Fields | undefined): Scheme | undefined {
  if (quantization === undefined) return undefined;
  const method =
    quantization.string('quant_method') ?? (quantization.has('config_groups') ? 'compressed-tensors' : 'gptq');
  switch (method) {
    case 'gptq':
    case 'marlin':
      return gptq(quantization, method);
    case 'awq':
      return awq(quantization);
    case 'compressed-tensors':
      return compressed(quantization);
    case 'qqq':
      bitsOf(quantization, ['wbits', 'bits'], [4]);
      return { method };
    default:
      throw unsupported(`its quant_method is ${JSON.stringify(method)}`);
  }
}

function bitsOf<Bits extends number>(fields: Fields, keys: readonly string[], known: readonly Bits[]): Bits {
  const key = keys.find((name) => fields.has(name)) ?? keys[0];
  const found = fields.integer(key) ?? 4;
  const bits = known.find((value) => value === found);
  if (bits === undefined) throw unsupported(`its weights have ${found} bits (${key}), expected ${known.join(', ')}`);
  return bits;
}

function gptq(fields: Fields, method: string): Scheme {
  const format = fields.string('checkpoint_format') ?? 'gptq';
  if (method === 'marlin' || format === 'marlin' || fields.boolean('is_marlin_format') === true) {
    bitsOf(fields, ['bits'], [4]);
    return { method: 'marlin' };
  }
  if (format !== 'gptq' && format !== 'gptq_v2')
    throw unsupported(`its checkpoint_format is ${JSON.stringify(format)}`);
  const dynamic = fields.value('dynamic');
  if (isObject(dynamic) && Object.keys(dynamic).some((rule) => !rule.startsWith('-:'))) {
    throw unsupported('its modules differ in how (the field `dynamic`)');
  }
  return {
    method: 'gptq',
    bits: bitsOf(fields, ['bits'], [2, 4, 8]),
    symmetric: fields.boolean('sym') ?? true,
    zeroPlusOne: format === 'gptq',
  };
}

function awq(fields: Fields): Scheme {
  const version = (fields.string('version') ?? 'gemm').toLowerCase();
  if (version !== 'gemm') throw unsupported(`its AWQ version is ${JSON.stringify(version)}`);
  bitsOf(fields, ['bits', 'w_bit'], [4]);
  return { method: 'awq' };
}

function compressed(fields: Fields): Scheme {
  if (isObject(fields.value('sparsity_config')) && fields.fields('sparsity_config')?.string('format') !== 'dense') {
    throw unsupported('its weights are sparse, too (sparsity_config)');
  }
  if (fields.value('kv_cache_scheme') !== undefined) throw unsupported('so is its KV cache (kv_cache_scheme)');
  const groups = fields.fields('config_groups');
  if (groups === undefined) throw fields.missing('config_groups');
  const own = fields.string('format');
  return {
    method: 'compressed-tensors',
    groups: Object.keys(groups.json).map((name) => compressedGroup(name, groups.fields(name) as Fields, own)),
  };
}

const formats = ['pack-quantized', 'int-quantized'];

function compressedGroup(name: string, group: Fields, modelFormat: string | undefined): CompressedGroup {
  const format = group.string('format') ?? modelFormat;
  if (format !== undefined && !formats.includes(format)) throw unsupported(`its format is ${JSON.stringify(format)}`);
  const weights = group.fields('weights');
  if (weights === undefined) throw group.missing('weights');
  const type = weights.string('type') ?? 'int';
  if (type !== 'int') throw unsupported(`the weights of ${name} are of type ${JSON.stringify(type)}`);
  const strategy = weights.string('strategy') ?? 'tensor';
  if (strategy !== 'group' && strategy !== 'channel') {
    throw unsupported(`the scales of ${name} are per ${strategy}, expected per group or per channel`);
  }
  const activations = group.fields('input_activations');
  if (activations !== undefined && !perToken(activations)) {
    throw unsupported(`the input_activations of ${name} are not dynamic int8 per token`);
  }
  if (group.value('output_activations') !== undefined) throw unsupported(`${name} has output_activations`);
  return {
    targets: (group.list('targets') ?? []).filter((target): target is string => typeof target === 'string'),
    bits: bitsOf(weights, ['num_bits'], [4, 8]),
    symmetric: weights.boolean('symmetric') ?? true,
    ...(strategy === 'group' ? { groupSize: weights.integer('group_size') ?? 128 } : {}),
    tokens: activations !== undefined,
  };
}

const perToken = (activations: Fields): boolean =>
  activations.boolean('dynamic') === true &&
  activations.string('strategy') === 'token' &&
  (activations.string('type') ?? 'int') === 'int' &&
  (activations.integer('num_bits') ?? 8) === 8 &&
  activations.boolean('symmetric') !== false;

/** The group whose targets name a module: by its name, by a pattern `re:…`, or all by the class `Linear`. */
export function groupOf(groups: readonly CompressedGroup[], module: string): CompressedGroup {
  const named = (target: string): boolean =>
    target === module || (target.startsWith('re:') && pattern(target.slice(3)).test(module));
  const found =
    groups.find(({ targets }) => targets.some(named)) ?? groups.find(({ targets }) => targets.includes('Linear'));
  if (found === undefined) throw unsupported(`no config group has the module \`${module}\` among its targets`);
  return found;
}

function pattern(text: string): RegExp {
  try {
    return new RegExp(`^(?:${text})`);
  } catch {
    throw unsupported(`the pattern ${JSON.stringify(text)} among its targets is not understood`);
  }
}
