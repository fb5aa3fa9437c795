// What a packed tensor needs from its files beyond the header, and its conversion by native code.
import { VivaceError } from '../../../errors.js';
import { native, nativeCall } from '../../../native.js';
import type { NativeMapping, NativePart } from '../../../native.js';
import { dtypes } from '../../../program/dtype.js';
import { packedLayouts, type PackedTensor, type TensorPart, type TensorSource } from '../../model-source.js';

type Mappings = (file: number) => NativeMapping;

function read(part: TensorPart, mappings: Mappings): Uint8Array {
  const bytes = new Uint8Array(part.bytes);
  nativeCall(() => mappings(part.file).read(part.offset, bytes));
  return bytes;
}

/**
 * Columns sorted by their group, stably: what was column `order[i]` becomes column i. Undefined when they are in order.
 * Throws FORMAT_INVALID when groups differ in size.
 */
export function columnOrder(tensor: TensorSource, mappings: Mappings): Int32Array | undefined {
  const { group, groupIndex } = tensor.packed as PackedTensor;
  const [, columns] = tensor.shape;
  if (groupIndex === undefined) return undefined;
  const bytes = read(groupIndex, mappings);
  const index =
    bytes.length === 8 * columns
      ? Int32Array.from(new BigInt64Array(bytes.buffer), Number)
      : new Int32Array(bytes.buffer);
  if (index.length !== columns) throw badIndex(tensor, `has ${index.length} entries for ${columns} columns`);
  if (index.every((found, column) => found === Math.floor(column / group))) return undefined;
  if (index.every((found) => found === -1)) return undefined; // never written
  const counts = new Int32Array(columns / group);
  for (const found of index) {
    if (!(found >= 0 && found < counts.length)) throw badIndex(tensor, `names group ${found} of ${counts.length}`);
    counts[found]++;
  }
  const odd = counts.findIndex((count) => count !== group);
  if (odd >= 0) throw badIndex(tensor, `puts ${counts[odd]} columns into group ${odd}, expected ${group}`);
  const next = Int32Array.from(counts, (_, found) => found * group);
  const order = new Int32Array(columns);
  index.forEach((found, column) => (order[next[found]++] = column));
  return order;
}

const badIndex = (tensor: TensorSource, what: string): VivaceError =>
  new VivaceError('FORMAT_INVALID', `The group index of \`${tensor.name}\` ${what}`);

/**
 * Zero points of GPTQ files: the first format stores them less one, the second as they are, and some files say the first
 * but hold the second. Where they should all be the middle code, the data tell.
 */
function withKnownZeros(packed: PackedTensor, mappings: Mappings): PackedTensor {
  const { layout, symmetric, zeros, bits, zero } = packed;
  if (layout !== 'gptq' || !symmetric || zeros === undefined) return packed;
  const words = new Uint32Array(read(zeros, mappings).buffer);
  const all = (code: number): number => {
    let word = 0;
    for (let place = 0; place < 32; place += bits) word += code * 2 ** place;
    return word;
  };
  const first = words[0];
  if ((first !== all(zero - 1) && first !== all(zero)) || words.some((word) => word !== first)) return packed;
  const { zeros: _, ...constant } = packed;
  return constant;
}

/** Makes the tensor's rows in memory at `offset` of `target`. */
export function convertPacked(
  tensor: TensorSource,
  order: Int32Array | undefined,
  mappings: Mappings,
  target: NativeMapping,
  threads: number,
): void {
  const packed = withKnownZeros(tensor.packed as PackedTensor, mappings);
  const part = ({ file, offset, bytes }: TensorPart): NativePart => ({ mapping: mappings(file), offset, bytes });
  const { codes, scales, zeros, groupScales } = packed;
  const [rows, columns] = tensor.shape;
  try {
    nativeCall(() =>
      native().convertCheckpoint(
        {
          layout: packedLayouts.indexOf(packed.layout),
          bits: packed.bits,
          rows,
          columns,
          group: packed.group,
          scaleType: dtypes[packed.scaleType].id,
          zeroPlusOne: packed.zeroPlusOne,
          zero: packed.zero,
          codes: part(codes),
          scales: part(scales),
          ...(zeros ? { zeros: part(zeros) } : {}),
          ...(groupScales ? { groupScales: part(groupScales) } : {}),
          ...(order ? { order } : {}),
        },
        dtypes[tensor.dtype].id,
        target,
        0,
        threads,
      ),
    );
  } catch (error) {
    if (!(error instanceof VivaceError)) throw error;
    throw new VivaceError(error.code, `The tensor \`${tensor.name}\`: ${error.message}`, {
      cause: error,
      remedy: error.remedy,
    });
  }
}
