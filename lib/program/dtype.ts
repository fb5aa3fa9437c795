// The table of number formats: one row per tensor type. Ids and sizes are GGUF's; those from 1001 on are made by loaders of
// quantised checkpoints (docs/quantisation.md), and no GGUF file holds them.

export interface DTypeInfo {
  /** GGUF's id, also the id used across the native border. */
  readonly id: number;
  readonly name: string;
  /** Values per block along a row; a row must be a whole number of blocks. */
  readonly block: number;
  /** Bytes per block. */
  readonly bytes: number;
  /** Usable as the weight of `linear` and `embedding`. */
  readonly weight: boolean;
  /** Bytes before the first block of a row. */
  readonly header: number;
}

const row = (id: number, name: string, block: number, bytes: number, weight = true, header = 0): DTypeInfo => ({
  id,
  name,
  block,
  bytes,
  weight,
  header,
});

const scaled = (id: number, name: string, header: number, block: number, bytes: number): DTypeInfo =>
  row(id, name, block, bytes, true, header);

export const dtypes = {
  F32: row(0, 'F32', 1, 4),
  F16: row(1, 'F16', 1, 2),
  Q4_0: row(2, 'Q4_0', 32, 18),
  Q4_1: row(3, 'Q4_1', 32, 20),
  Q5_0: row(6, 'Q5_0', 32, 22),
  Q5_1: row(7, 'Q5_1', 32, 24),
  Q8_0: row(8, 'Q8_0', 32, 34),
  Q2_K: row(10, 'Q2_K', 256, 84),
  Q3_K: row(11, 'Q3_K', 256, 110),
  Q4_K: row(12, 'Q4_K', 256, 144),
  Q5_K: row(13, 'Q5_K', 256, 176),
  Q6_K: row(14, 'Q6_K', 256, 210),
  IQ4_NL: row(20, 'IQ4_NL', 32, 18),
  IQ4_XS: row(23, 'IQ4_XS', 256, 136),
  I32: row(26, 'I32', 1, 4, false),
  BF16: row(30, 'BF16', 1, 2),
  W8A16: scaled(1001, 'W8A16', 4, 1, 1),
  W8A16_G32: scaled(1002, 'W8A16_G32', 0, 32, 36),
  W8A16_G64: scaled(1003, 'W8A16_G64', 0, 64, 68),
  W8A16_G128: scaled(1004, 'W8A16_G128', 0, 128, 132),
  W4A16: scaled(1005, 'W4A16', 4, 2, 1),
  W4A16_G32: scaled(1006, 'W4A16_G32', 0, 32, 20),
  W4A16_G64: scaled(1007, 'W4A16_G64', 0, 64, 36),
  W4A16_G128: scaled(1008, 'W4A16_G128', 0, 128, 68),
  W8A8: scaled(1009, 'W8A8', 8, 1, 1),
  W4A8: scaled(1010, 'W4A8', 8, 2, 1),
  W4A8_G128: scaled(1011, 'W4A8_G128', 8, 128, 66),
  KIVI4: row(1020, 'KIVI4', 32, 20, false),
} as const satisfies Record<string, DTypeInfo>;

export type DType = keyof typeof dtypes;

const byId = new Map<number, DType>(
  Object.values(dtypes)
    .filter((info) => info.id < 1000)
    .map((info) => [info.id, info.name as DType]),
);

/** The type of a GGUF id, or undefined when vivace does not compute with it. */
export const dtypeOfId = (id: number): DType | undefined => byId.get(id);

/** Bytes of one row of `columns` values; the row must be a whole number of blocks. */
export function rowBytes(dtype: DType, columns: number): number {
  const { header, block, bytes } = dtypes[dtype];
  return header + (columns / block) * bytes;
}

/** Types that GGUF files can hold. */
export const inGguf = (dtype: DType): boolean => dtypes[dtype].id < 1000;

/** Types of GGUF that vivace only knows by name, for error messages. */
export const foreignDtypes: Readonly<Record<number, string>> = {
  9: 'Q8_1',
  15: 'Q8_K',
  16: 'IQ2_XXS',
  17: 'IQ2_XS',
  18: 'IQ3_XXS',
  19: 'IQ1_S',
  21: 'IQ3_S',
  22: 'IQ2_S',
  24: 'I8',
  25: 'I16',
  27: 'I64',
  28: 'F64',
  29: 'IQ1_M',
  34: 'TQ1_0',
  35: 'TQ2_0',
  39: 'MXFP4',
};

/** Does `linear` with weights of a type multiply 8-bit activations, on the integer units? The others multiply floats. */
export const takesA8 = (type: string): boolean =>
  Object.hasOwn(dtypes, type) && !type.includes('A16') && (dtypes[type as DType].block > 1 || /^W\dA8/.test(type));
