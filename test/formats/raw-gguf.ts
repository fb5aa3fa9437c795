// GGUF files byte by byte, so that tests can write what the writer refuses to.

export const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};

export const u64 = (value: number | bigint): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
};

export const text = (value: string | Buffer): Buffer => {
  const bytes = Buffer.from(value);
  return Buffer.concat([u64(bytes.length), bytes]);
};

export const entry = (key: string | Buffer, type: number, ...value: Buffer[]): Buffer =>
  Buffer.concat([text(key), u32(type), ...value]);

export const info = (
  name: string | Buffer,
  dims: readonly (number | bigint)[],
  type: number,
  offset: number | bigint,
): Buffer => Buffer.concat([text(name), u32(dims.length), ...dims.map(u64), u32(type), u64(offset)]);

export interface RawGguf {
  readonly magic?: string;
  readonly version?: Buffer;
  readonly tensorCount?: number | bigint;
  readonly entryCount?: number | bigint;
  readonly entries?: readonly Buffer[];
  readonly infos?: readonly Buffer[];
  readonly alignment?: number;
  readonly data?: Buffer;
}

export function rawGguf(parts: RawGguf): Buffer {
  const { magic = 'GGUF', version = u32(3), entries = [], infos = [], alignment = 32, data = Buffer.alloc(0) } = parts;
  const header = Buffer.concat([
    Buffer.from(magic),
    version,
    u64(parts.tensorCount ?? infos.length),
    u64(parts.entryCount ?? entries.length),
    ...entries,
    ...infos,
  ]);
  return Buffer.concat([header, Buffer.alloc((alignment - (header.length % alignment)) % alignment), data]);
}
