// Runs a program call by call in float64: what a program means, and the oracle of every other executor.
import { VivaceError } from '../../errors.js';
import { rowBytes } from '../dtype.js';
import type { DType } from '../dtype.js';
import type { Program, Value } from '../program.js';
import { dequantiseRow } from './dequantise.js';
import { flatten, lazyMatrix, matrixFrom } from './matrix.js';
import type { Matrix } from './matrix.js';
import type { ReferenceCall } from './ops/call.js';
import { referenceOps } from './ops/table.js';
import { commitRows, reserveRows } from './rows-of-run.js';
import type { ReferenceBatch } from './rows-of-run.js';

/** A stored tensor: [out, in] or [n]. */
export interface ReferenceWeight {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

export type BindReferenceWeight = (tensor: string) => ReferenceWeight;

export class ReferenceProgram {
  private readonly fixed = new Map<number, Matrix>();
  private decoded = 0;

  constructor(
    readonly program: Program,
    bindWeight: BindReferenceWeight,
  ) {
    for (const value of program.values) {
      if (value.kind === 'weight') this.fixed.set(value.id, this.weight(value, bindWeight));
      if (value.kind === 'constant' && value.data) {
        this.fixed.set(value.id, matrixFrom(value.data, value.rows as number, value.columns));
      }
    }
  }

  /** Bytes of the weights decoded so far. */
  get weightBytes(): number {
    return this.decoded;
  }

  /**
   * One run. Inputs by name; `tokens`, `positions` and `output_rows` come from the batch when there is one. Returns the
   * program's outputs, [rows, columns] each. A chain's rows are committed to the cache.
   */
  run(
    inputs: Readonly<Record<string, Int32Array | Float32Array>>,
    batch?: ReferenceBatch,
  ): Record<string, Float64Array> {
    const given: Record<string, Int32Array | Float32Array> = batch
      ? { tokens: batch.tokens, positions: batch.positions, output_rows: batch.outputRows, ...inputs }
      : inputs;
    const known = new Map(this.fixed);
    for (const value of this.program.values) {
      if (value.kind !== 'input') continue;
      const data = given[value.name];
      if (!data) throw new VivaceError('INVALID_ARGUMENT', `${this.program.name}: input \`${value.name}\` is missing`);
      known.set(value.id, matrixFrom(data, data.length / value.columns, value.columns));
    }
    const rows = batch ? reserveRows(batch) : [];
    for (const { op, inputs: values, outputs, attributes } of this.program.calls) {
      const matrices = values.map((value) => (value ? known.get(value.id) : undefined));
      const call: ReferenceCall = {
        inputs: matrices as Matrix[],
        optional: (index) => matrices[index],
        attributes,
        rows,
        kv: batch?.kv,
        compress: batch?.compress,
      };
      referenceOps[op](call).forEach((matrix, index) => known.set(outputs[index].id, matrix));
    }
    if (batch) commitRows(batch);
    return Object.fromEntries(
      Object.entries(this.program.outputs).map(([name, { id }]) => [name, flatten(known.get(id) as Matrix)]),
    );
  }

  private weight(value: Value, bindWeight: BindReferenceWeight): Matrix {
    const { tensor, firstRow } = value.weight as { tensor: string; firstRow: number };
    const { dtype, bytes } = bindWeight(tensor);
    const size = rowBytes(dtype, value.columns);
    return lazyMatrix(value.rows as number, value.columns, (row) => {
      this.decoded += 8 * value.columns;
      const start = (firstRow + row) * size;
      return dequantiseRow(dtype, bytes.subarray(start, start + size), value.columns);
    });
  }
}
