// Pickles of plain values: dictionaries, lists, numbers, texts and numpy's arrays, by their bytes. A pickle is a program for Python; of
// its instructions only those are known here that put such values together, and none calls anything. Everything else is refused.
// The instructions are those of Python's pickle protocols 3 to 5 (PEP 307, 3154, 574), numbers by their opcodes.
import { VivaceError } from '../../../errors.js';

export type Plain = null | boolean | number | string | Uint8Array | Float64Array | Plain[] | Map<Plain, Plain>;

/** A name that a pickle may mention: the parts of numpy's arrays. */
class Name {
  constructor(readonly name: string) {}
}
class Type {
  code = '';
  constructor(code: unknown) {
    if (code === 'f4' || code === 'f8' || code === 'i8' || code === 'i4') this.code = code;
  }
}
class ArrayValue {
  values: Float64Array = new Float64Array();
}
type Value = Plain | Name | Type | ArrayValue | Value[] | typeof MARK;
const MARK = Symbol('mark');
const MOST_VALUES = 1 << 20;

const known = new Set(
  ['numpy.core.multiarray', 'numpy._core.multiarray']
    .flatMap((module) => [`${module} _reconstruct`, `${module} scalar`])
    .concat(['numpy ndarray', 'numpy dtype']),
);

/** Throws FORMAT_INVALID for what is broken, UNSUPPORTED_FEATURE for pickles of anything else. */
export function readPickle(bytes: Uint8Array, what: string): Plain {
  const reader = new Reader(bytes, what);
  return reader.read();
}

class Reader {
  private at = 0;
  private readonly stack: Value[] = [];
  private readonly memo: Value[] = [];
  private readonly view: DataView;

  private readonly bytes: Uint8Array;

  constructor(
    { buffer, byteOffset, byteLength }: Uint8Array,
    private readonly what: string,
  ) {
    this.bytes = new Uint8Array(buffer, byteOffset, byteLength); // slices of a Buffer would be no copies
    this.view = new DataView(buffer, byteOffset, byteLength);
  }

  read(): Plain {
    for (let count = 0; count < MOST_VALUES; count++) {
      const opcode = this.number(1);
      if (opcode === 0x2e) return plain(this.pop(), this.invalid('it ends with no plain value'));
      this.step(opcode);
    }
    throw this.invalid('it has too many values');
  }

  private step(opcode: number): void {
    const { stack } = this;
    switch (opcode) {
      case 0x80: // protocol
        if (this.number(1) < 3) throw this.unsupported('an old protocol');
        return;
      case 0x95: // frame: how many bytes follow
        return void this.take(8);
      case 0x28:
        return void stack.push(MARK);
      case 0x4e:
        return void stack.push(null);
      case 0x88:
      case 0x89:
        return void stack.push(opcode === 0x88);
      case 0x4b:
      case 0x4d:
        return void stack.push(this.number(opcode === 0x4b ? 1 : 2));
      case 0x4a:
        return void stack.push(new DataView(this.take(4).slice().buffer).getInt32(0, true));
      case 0x47: // a double, the greatest byte first
        return void stack.push(new DataView(this.take(8).slice().buffer).getFloat64(0));
      case 0x8c:
      case 0x58:
        return void stack.push(new TextDecoder().decode(this.take(this.number(opcode === 0x8c ? 1 : 4))));
      case 0x43:
      case 0x42:
      case 0x8e:
        return void stack.push(this.take(this.number(opcode === 0x43 ? 1 : opcode === 0x42 ? 4 : 8)));
      case 0x7d:
        return void stack.push(new Map<Plain, Plain>());
      case 0x5d:
        return void stack.push([]);
      case 0x29:
        return void stack.push([]);
      case 0x85:
      case 0x86:
      case 0x87:
        return void stack.push(stack.splice(-(opcode - 0x84)));
      case 0x74:
        return void stack.push(this.marked());
      case 0x61:
      case 0x65: {
        const items = opcode === 0x61 ? [this.pop()] : this.marked();
        const list = stack[stack.length - 1] as Value[] | undefined;
        if (!Array.isArray(list)) throw this.invalid('it puts a value into no list');
        return void list.push(...items);
      }
      case 0x73:
      case 0x75: {
        const items = opcode === 0x73 ? stack.splice(-2) : this.marked();
        const map = stack[stack.length - 1] as Map<Value, Value> | undefined;
        if (!(map instanceof Map) || items.length % 2 === 1) throw this.invalid('it puts a value into no dictionary');
        for (let i = 0; i < items.length; i += 2) map.set(items[i], items[i + 1]);
        return;
      }
      case 0x94:
        return void this.memo.push(stack[stack.length - 1]);
      case 0x71:
      case 0x72:
        return void (this.memo[this.number(opcode === 0x71 ? 1 : 4)] = stack[stack.length - 1]);
      case 0x68:
      case 0x6a:
        return void stack.push(this.memo[this.number(opcode === 0x68 ? 1 : 4)] ?? null);
      case 0x63:
        return void stack.push(this.name(`${this.line()} ${this.line()}`));
      case 0x93: {
        const [module, name] = stack.splice(-2);
        return void stack.push(this.name(`${String(module)} ${String(name)}`));
      }
      case 0x52:
        return void stack.push(this.made());
      case 0x62:
        return this.fill();
      default:
        throw this.unsupported(`the instruction ${opcode}`);
    }
  }

  /** Of the names that a pickle may mention nothing is called: these are the beginnings of an array, a type and a number. */
  private made(): Value {
    const args = this.pop();
    const name = this.pop();
    if (!(name instanceof Name) || !Array.isArray(args)) throw this.invalid('it makes a value of nothing');
    if (name.name.endsWith('_reconstruct')) return new ArrayValue();
    if (name.name === 'numpy dtype') return new Type(args[0]);
    const [type, data] = args as Value[];
    if (!name.name.endsWith('scalar') || !(type instanceof Type) || !(data instanceof Uint8Array)) {
      throw this.invalid('it makes a value of nothing');
    }
    return this.values(type, data)[0] ?? NaN;
  }

  /** An array: version, shape, type, order, bytes. A type: its byte order comes second. */
  private fill(): void {
    const state = this.pop() as Value[];
    const value = this.stack[this.stack.length - 1];
    if (!Array.isArray(state)) throw this.invalid('a value has no parts');
    if (value instanceof Type) {
      if (state[1] !== '<') throw this.unsupported('numbers of another byte order');
      return;
    }
    const [, shape, type, , data] = state;
    const sound = value instanceof ArrayValue && Array.isArray(shape) && type instanceof Type;
    if (!sound || !(data instanceof Uint8Array)) throw this.invalid('an array has no values');
    value.values = this.values(type, data);
    const count = (shape as number[]).reduce((product, size) => product * size, 1);
    if (value.values.length !== count) throw this.invalid('an array’s shape is not that of its values');
  }

  private values(type: Type, data: Uint8Array): Float64Array {
    const size = Number(type.code.slice(1));
    if (!(size > 0) || data.length % size !== 0) throw this.unsupported('arrays of this type');
    const { buffer } = data.slice();
    if (type.code === 'f8') return new Float64Array(buffer);
    if (type.code === 'f4') return Float64Array.from(new Float32Array(buffer));
    if (type.code === 'i4') return Float64Array.from(new Int32Array(buffer));
    return Float64Array.from(new BigInt64Array(buffer), Number);
  }

  private name(name: string): Name {
    if (!known.has(name)) throw this.unsupported(`a \`${name.replace(' ', '.')}\``);
    return new Name(name);
  }
  private pop(): Exclude<Value, typeof MARK> {
    const value = this.stack.pop();
    if (value === undefined || value === MARK) throw this.invalid('a value is missing');
    return value;
  }
  private marked(): Value[] {
    const mark = this.stack.lastIndexOf(MARK);
    if (mark < 0) throw this.invalid('a mark is missing');
    return this.stack.splice(mark).slice(1);
  }
  private take(count: number): Uint8Array {
    if (this.at + count > this.bytes.length) throw this.invalid('it ends too early');
    return this.bytes.subarray(this.at, (this.at += count));
  }
  private number(size: 1 | 2 | 4 | 8): number {
    const begin = this.at;
    this.take(size);
    if (size === 8) return Number(this.view.getBigUint64(begin, true));
    return size === 4
      ? this.view.getUint32(begin, true)
      : size === 2
        ? this.view.getUint16(begin, true)
        : this.bytes[begin];
  }
  private line(): string {
    const end = this.bytes.indexOf(10, this.at);
    if (end < 0) throw this.invalid('it ends too early');
    const text = new TextDecoder().decode(this.bytes.subarray(this.at, end));
    this.at = end + 1;
    return text;
  }
  private invalid(why: string): VivaceError {
    return new VivaceError('FORMAT_INVALID', `${this.what} is a broken pickle: ${why}`);
  }
  private unsupported(found: string): VivaceError {
    return new VivaceError('UNSUPPORTED_FEATURE', `${this.what} is a pickle with ${found}`, {
      remedy: 'Only numbers, texts, lists, dictionaries and numpy arrays are read of a pickle, never other objects.',
    });
  }
}

/** Lists may hold each other, but not for ever. */
function plain(value: Value, error: VivaceError, depth = 0): Plain {
  if (value instanceof ArrayValue) return value.values;
  if (value instanceof Name || value instanceof Type || value === MARK || depth > 8) throw error;
  if (Array.isArray(value)) return (value as Value[]).map((one) => plain(one, error, depth + 1));
  if (!(value instanceof Map)) return value as Plain;
  return new Map([...value].map(([key, one]) => [plain(key, error, depth + 1), plain(one, error, depth + 1)]));
}
