// The wire format of protocol buffers, as far as reading needs it.
import { VivaceError } from '../../errors.js';

export interface ProtobufField {
  readonly number: number;
  /** A varint (negative ones as two's complement below 2^64), cut to 2^53; undefined for other kinds. */
  readonly integer?: number;
  readonly bytes?: Buffer;
  readonly float?: number;
}

/** The fields of a message in order. Throws FORMAT_TRUNCATED or FORMAT_INVALID. */
export function* protobufFields(path: string, message: Buffer): Generator<ProtobufField> {
  let position = 0;
  const take = (count: number): Buffer => {
    if (count > message.length - position) throw new VivaceError('FORMAT_TRUNCATED', `${path} ends inside a field`);
    position += count;
    return message.subarray(position - count, position);
  };
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; shift < 10; shift++) {
      const byte = take(1)[0];
      value += (byte & 0x7f) * 2 ** (7 * shift);
      if (byte < 0x80) return value;
    }
    throw new VivaceError('FORMAT_INVALID', `${path}: a number has more than 10 bytes`);
  };
  while (position < message.length) {
    const tag = varint();
    const number = Math.floor(tag / 8);
    switch (tag % 8) {
      case 0:
        yield { number, integer: varint() };
        break;
      case 1:
        take(8);
        yield { number };
        break;
      case 2:
        yield { number, bytes: take(varint()) };
        break;
      case 5:
        yield { number, float: take(4).readFloatLE() };
        break;
      default:
        throw new VivaceError('FORMAT_INVALID', `${path}: a field has the unknown wire type ${tag % 8}`);
    }
  }
}
