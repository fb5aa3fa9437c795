// What reference ops compute with: rows of float64, made or decoded when first asked for.

export interface Matrix {
  readonly rows: number;
  readonly columns: number;
  /** [columns] values; callers must not change them. */
  row(index: number): Float64Array;
}

/** A matrix whose rows are given. */
export function matrixOf(rows: readonly Float64Array[], columns: number): Matrix {
  return { rows: rows.length, columns, row: (index) => rows[index] };
}

/** A matrix by formula: the values of each row. */
export function matrixBy(rows: number, columns: number, values: (row: number) => Float64Array): Matrix {
  return matrixOf(
    Array.from({ length: rows }, (_, row) => values(row)),
    columns,
  );
}

/** Numbers that lie row by row, as callers and constants have them. */
export function matrixFrom(data: ArrayLike<number>, rows: number, columns: number): Matrix {
  return matrixBy(rows, columns, (row) => Float64Array.from({ length: columns }, (_, i) => data[row * columns + i]));
}

/** A matrix whose rows are decoded one by one when they are used, and kept. */
export function lazyMatrix(rows: number, columns: number, decode: (row: number) => Float64Array): Matrix {
  const known: Float64Array[] = [];
  return { rows, columns, row: (index) => (known[index] ??= decode(index)) };
}

export function flatten(matrix: Matrix): Float64Array {
  const flat = new Float64Array(matrix.rows * matrix.columns);
  for (let row = 0; row < matrix.rows; ++row) flat.set(matrix.row(row), row * matrix.columns);
  return flat;
}
