// The linear maps of a quantised checkpoint: the tensors of each module are joined to one packed tensor.
import { VivaceError } from '../../../errors.js';
import { rowBytes, type DType } from '../../../program/dtype.js';
import type { PackedTensor, TensorPart } from '../../model-source.js';
import type { SafetensorsTensor } from '../../safetensors.js';
import { groupOf, unsupported, type Scheme } from './scheme.js';

export type StoredTensor = SafetensorsTensor & { readonly file: number };

/** A module's weight in place of the tensors that it was made of. */
export interface PackedModule {
  /** As in the files, without suffix: `model.layers.0.mlp.up_proj`. */
  readonly name: string;
  readonly shape: readonly [rows: number, columns: number];
  readonly dtype: DType;
  readonly bytes: number;
  readonly packed: PackedTensor;
}

export interface SplitCheckpoint {
  readonly modules: readonly PackedModule[];
  /** Everything else: embeddings, norms, biases, modules that were left as they were. */
  readonly rest: readonly StoredTensor[];
}

/** Tensors that only quantised modules have. A plain `weight` is one of theirs when it holds integers. */
const suffixes = [
  'qweight', 'qzeros', 'scales', 'g_idx',
  'weight_packed', 'weight_scale', 'weight_zero_point', 'weight_shape', 'weight_g_idx',
  'B', 's', 's_group', 's_channel', 'workspace', 'reduce_buffer',
  's1_scales', 's1_szeros', 's2_scales', 's2_zeros',
]; // prettier-ignore

/** Throws UNSUPPORTED_FEATURE, MISSING_TENSOR or SHAPE_MISMATCH, naming the module. */
export function splitCheckpoint(tensors: Iterable<StoredTensor>, given: Scheme | undefined): SplitCheckpoint {
  const modules = new Map<string, Map<string, StoredTensor>>();
  const rest: StoredTensor[] = [];
  for (const tensor of tensors) {
    const dot = tensor.name.lastIndexOf('.');
    const suffix = tensor.name.slice(dot + 1);
    const quantised = suffixes.includes(suffix) || (suffix === 'weight' && tensor.type === 'I8');
    if (!quantised) {
      rest.push(tensor);
      continue;
    }
    const name = tensor.name.slice(0, dot);
    const parts = modules.get(name) ?? new Map<string, StoredTensor>();
    modules.set(name, parts.set(suffix, tensor));
  }
  if (modules.size === 0) return { modules: [], rest };
  const scheme = given ?? withoutConfig(modules);
  return { modules: [...modules].map(([name, parts]) => new Module(name, parts).read(scheme)), rest };
}

/** QServe writes nothing into config.json. */
function withoutConfig(modules: ReadonlyMap<string, ReadonlyMap<string, StoredTensor>>): Scheme {
  const [[name, parts]] = modules;
  if (parts.has('s1_scales')) return { method: 'qserve' };
  throw unsupported(`config.json does not say how (\`${name}\` has ${[...parts.keys()].join(', ')})`);
}

const scaleTypes = ['F32', 'F16', 'BF16'] as const;

class Module {
  constructor(
    readonly name: string,
    private readonly parts: ReadonlyMap<string, StoredTensor>,
  ) {}

  read(scheme: Scheme): PackedModule {
    switch (scheme.method) {
      case 'gptq':
        return this.gptq(scheme);
      case 'awq':
        return this.awq();
      case 'marlin':
        return this.marlin();
      case 'qqq':
        return this.qqq();
      case 'qserve':
        return this.qserve();
      case 'compressed-tensors':
        return this.compressed(scheme);
    }
  }

  private gptq({ bits, symmetric, zeroPlusOne }: Extract<Scheme, { method: 'gptq' }>): PackedModule {
    const [words, rows] = this.matrix('qweight', 'I32');
    const columns = (words * 32) / bits;
    const groupIndex = this.optional('g_idx');
    return this.packed([rows, columns], weightOnly, {
      layout: 'gptq',
      bits,
      group: columns / this.matrix('scales')[0],
      scaleType: this.scaleType('scales'),
      codes: this.part('qweight'),
      scales: this.part('scales'),
      zeros: this.part('qzeros'),
      zero: 2 ** (bits - 1),
      zeroPlusOne,
      symmetric,
      ...(groupIndex ? { groupIndex } : {}),
    });
  }

  private awq(): PackedModule {
    const [columns, words] = this.matrix('qweight', 'I32');
    return this.packed([words * 8, columns], weightOnly, {
      layout: 'awq',
      bits: 4,
      group: columns / this.matrix('scales')[0],
      scaleType: this.scaleType('scales'),
      codes: this.part('qweight'),
      scales: this.part('scales'),
      ...this.whereStored('zeros', 'qzeros'),
      ...centred(4),
    });
  }

  private marlin(): PackedModule {
    const [tiles, twice] = this.matrix('B', 'I32');
    return this.packed([twice / 2, tiles * 16], weightOnly, {
      layout: 'marlin',
      bits: 4,
      group: (tiles * 16) / this.matrix('s')[0],
      scaleType: this.scaleType('s'),
      codes: this.part('B'),
      scales: this.part('s'),
      ...centred(4),
    });
  }

  private qqq(): PackedModule {
    const [tiles, twice] = this.matrix('B', 'I32');
    const columns = tiles * 16;
    const grouped = (this.parts.get('s_group')?.bytes ?? 0) > 0;
    return this.packed([twice / 2, columns], () => (grouped ? 'W8A8' : 'W4A8'), {
      layout: 'qqq',
      bits: 4,
      group: grouped ? columns / this.matrix('s_group', 'F16')[0] : columns,
      scaleType: this.scaleType('s_channel'),
      codes: this.part('B'),
      scales: this.part('s_channel'),
      ...(grouped ? { groupScales: this.part('s_group') } : {}),
      ...centred(4),
    });
  }

  private qserve(): PackedModule {
    const [rows, half] = this.matrix('qweight', 'I8');
    const grouped = this.parts.has('s2_scales');
    const common = {
      layout: 'qserve',
      bits: 4,
      scaleType: this.scaleType('s1_scales'),
      codes: this.part('qweight'),
      scales: this.part('s1_scales'),
      ...centred(4),
    } as const;
    return grouped
      ? this.packed([rows, 2 * half], () => 'W4A8_G128', {
          ...common,
          group: (2 * half) / this.matrix('s2_scales', 'I8')[0],
          zeros: this.part('s2_zeros'),
          groupScales: this.part('s2_scales'),
        })
      : this.packed([rows, 2 * half], () => 'W4A8', { ...common, group: 2 * half, zeros: this.part('s1_szeros') });
  }

  private compressed({ groups }: Extract<Scheme, { method: 'compressed-tensors' }>): PackedModule {
    const scheme = groupOf(groups, this.name);
    const plain = this.parts.has('weight');
    const [rows, width] = plain ? this.matrix('weight', 'I8') : this.matrix('weight_packed', 'I32');
    const scales = this.matrix('weight_scale')[1];
    const codesPerWord = 32 / scheme.bits;
    // The last word of a row may be partly filled: groups tell how far.
    const columns = plain ? width : scheme.groupSize ? scales * scheme.groupSize : width * codesPerWord;
    if (!plain && Math.ceil(columns / codesPerWord) !== width) throw this.mismatch('weight_packed', 'its scales');
    const groupIndex = this.optional('weight_g_idx');
    // Four-bit weights with 8-bit activations have scales that no whole number expresses: activations stay floats.
    const type = plain && scheme.tokens && scales === 1 ? (): DType => 'W8A8' : weightOnly;
    return this.packed([rows, columns], type, {
      layout: plain ? 'bytes' : 'packed',
      bits: plain ? 8 : scheme.bits,
      group: columns / scales,
      scaleType: this.scaleType('weight_scale'),
      codes: this.part(plain ? 'weight' : 'weight_packed'),
      scales: this.part('weight_scale'),
      ...(scheme.symmetric ? {} : { zeros: this.part('weight_zero_point') }),
      ...(groupIndex ? { groupIndex } : {}),
      ...centred(plain ? 8 : scheme.bits),
    });
  }

  private packed(
    shape: readonly [number, number],
    stored: (bits: number, group: number, columns: number) => DType | undefined,
    packed: PackedTensor,
  ): PackedModule {
    const [rows, columns] = shape;
    const { bits, group } = packed;
    const dtype = Number.isInteger(group) && group > 0 ? stored(bits, group, columns) : undefined;
    if (dtype === undefined || !Number.isInteger(rows) || !Number.isInteger(columns)) {
      throw unsupported(
        `\`${this.name}\` [${rows}, ${columns}] has groups of ${group} columns, expected 32, 64, multiples of them, or all`,
      );
    }
    return { name: this.name, shape, dtype, bytes: rows * rowBytes(dtype, columns), packed };
  }

  private tensor(suffix: string): StoredTensor {
    const found = this.parts.get(suffix);
    if (found === undefined) {
      throw new VivaceError('MISSING_TENSOR', `The tensor \`${this.name}.${suffix}\` is missing`, {
        remedy: `The module has ${[...this.parts.keys()].join(', ')}; download the checkpoint again.`,
      });
    }
    return found;
  }

  private optional(suffix: string): TensorPart | undefined {
    return this.parts.has(suffix) ? this.part(suffix) : undefined;
  }

  private part(suffix: string): TensorPart {
    const { file, offset, bytes } = this.tensor(suffix);
    return { file, offset, bytes };
  }

  private whereStored(key: 'zeros', suffix: string): { readonly zeros?: TensorPart } {
    const part = this.optional(suffix);
    return part ? { [key]: part } : {};
  }

  private matrix(suffix: string, type?: StoredTensor['type']): readonly [number, number] {
    const tensor = this.tensor(suffix);
    const [first, second = 1] = tensor.shape;
    if (tensor.shape.length > 2 || !(first > 0) || (type !== undefined && tensor.type !== type)) {
      throw this.mismatch(suffix, `a matrix${type === undefined ? '' : ` of ${type}`}`);
    }
    return [first, second];
  }

  private scaleType(suffix: string): (typeof scaleTypes)[number] {
    const { type } = this.tensor(suffix);
    const known = scaleTypes.find((name) => name === type);
    if (known === undefined) throw this.mismatch(suffix, scaleTypes.join(', '));
    return known;
  }

  private mismatch(suffix: string, wanted: string): VivaceError {
    const { type, shape } = this.tensor(suffix);
    return new VivaceError(
      'SHAPE_MISMATCH',
      `The tensor \`${this.name}.${suffix}\` is ${type} [${shape.join(', ')}], which does not fit ${wanted}`,
    );
  }
}

const centred = (bits: 4 | 8) => ({ zero: 2 ** (bits - 1), zeroPlusOne: false, symmetric: true }) as const;

/** The type of float activations whose groups are at most as wide. */
function weightOnly(bits: number, group: number, columns: number): DType | undefined {
  const stem = bits === 8 ? 'W8A16' : 'W4A16';
  if (group === columns) return columns % 2 === 0 || bits === 8 ? stem : undefined;
  for (const width of [128, 64, 32] as const) if (group % width === 0) return `${stem}_G${width}`;
  return undefined;
}
