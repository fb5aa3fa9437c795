// rope_table, rope, kv_write and attention.
import { VivaceError } from '../../../errors.js';
import { ropeLayouts } from '../../ops.js';
import { chosenTokens, sees, type KvPolicy } from '../../kv-policy.js';
import type { ReferenceKv } from '../kv-cells.js';
import { chooseCells } from '../labels.js';
import { matrixBy } from '../matrix.js';
import type { ReferenceOp } from './call.js';
import { dot } from './linear.js';
import { softmaxOf } from './norm.js';
import { softCap } from './pointwise.js';
import { compressLayer } from './compress.js';

export const rope_table: ReferenceOp = ({ inputs: [positions, frequencies], attributes: [magnitude] }) => {
  const half = frequencies.columns;
  return [
    matrixBy(positions.rows, 2 * half, (row) =>
      Float64Array.from({ length: 2 * half }, (_, i) => {
        const angle = positions.row(row)[0] * frequencies.row(0)[i % half];
        return magnitude * (i < half ? Math.cos(angle) : Math.sin(angle));
      }),
    ),
  ];
};

export const rope: ReferenceOp = ({ inputs: [x, table], attributes: [heads, layout] }) => {
  const width = x.columns / heads;
  const half = table.columns / 2;
  const adjacent = ropeLayouts[layout] === 'adjacent';
  return [
    matrixBy(x.rows, x.columns, (row) => {
      const angles = table.row(row);
      const y = x.row(row).slice();
      for (let head = 0; head < heads; ++head) {
        const values = x.row(row).slice(head * width, (head + 1) * width);
        for (let j = 0; j < half; ++j) {
          const a = values[adjacent ? 2 * j : j];
          const b = values[adjacent ? 2 * j + 1 : j + half];
          y[head * width + j] = a * angles[j] - b * angles[j + half];
          y[head * width + j + half] = b * angles[j] + a * angles[j + half];
        }
      }
      return y;
    }),
  ];
};

function cacheOf(kv: ReferenceKv | undefined): ReferenceKv {
  if (!kv) throw new VivaceError('INTERNAL', 'a program with attention needs a batch with a KV cache');
  return kv;
}

export const kv_write: ReferenceOp = ({ inputs: [k, v], attributes: [layer], rows, kv }) => {
  rows.forEach(({ sequence, cell }, row) => cacheOf(kv).write(sequence, cell, layer, k.row(row), v.row(row)));
  return [];
};

/** Everything is in memory here. */
export const choose_ahead: ReferenceOp = () => [];

/** A query's score of a sink that its window has left. Both were rotated at their true positions. */
function sinkScore(
  { rotation }: KvPolicy,
  layer: number,
  query: Float64Array,
  key: Float64Array,
  position: number,
  sink: number,
): number {
  const frequencies = rotation?.tables[rotation.layers[layer]];
  if (!rotation || !frequencies) return dot(query, key);
  const wanted = rotation.distance === 'ceiling' ? rotation.limit : Math.min(position, rotation.limit) - sink;
  return dot(turned(query, frequencies, wanted - (position - sink)), key);
}

/** A rotated vector, turned further by so many positions. */
function turned(x: Float64Array, frequencies: Float64Array, positions: number): Float64Array {
  const y = x.slice();
  const half = frequencies.length;
  frequencies.forEach((frequency, j) => {
    const [cosine, sine] = [Math.cos(positions * frequency), Math.sin(positions * frequency)];
    y[j] = x[j] * cosine - x[j + half] * sine;
    y[j + half] = x[j + half] * cosine + x[j] * sine;
  });
  return y;
}

export const attention: ReferenceOp = ({ inputs: [q], attributes, rows, kv, compress }) => {
  const [layer, heads, valueDim, scale, softcap, window] = attributes;
  const cache = cacheOf(kv);
  const keyDim = q.columns / heads;
  const group = heads / cache.shape.kvHeads;
  const pattern = cache.policy.layers?.[layer]; // the op's window included
  /** What a row's query heads see, and with which weights. */
  const attending = (row: number) => {
    const { sequence, position, visible, output } = rows[row];
    const all = visible
      .map((index) => ({ index, cell: cache.cell(sequence, index) }))
      .filter(({ cell }) => pattern !== undefined || window === 0 || cell.position > position - window);
    const queryOf = (head: number): Float64Array => q.row(row).subarray(head * keyDim, (head + 1) * keyDim);
    const { labels } = cache.policy;
    const chooses = labels?.sparse[layer] === 1 && output && chosenTokens(labels, all.length) < all.length;
    const chosen = chooses
      ? Array.from({ length: cache.shape.kvHeads }, (_, kvHead) => {
          const queries = Array.from({ length: group }, (__, n) => queryOf(kvHead * group + n));
          const keys = all.map(({ cell }) => ({ key: cell.keys[layer][kvHead].values, cell: cell.position }));
          return chooseCells(labels, layer, kvHead, cache.shape.kvHeads, queries, keys);
        }).flat()
      : undefined;
    return (head: number) => {
      const kvHead = Math.floor(head / group);
      const cells = (chosen ? chosen[head].map((index) => all[index]) : all)
        .filter(({ index }) => cache.sees(sequence, layer, head, index))
        .map(({ cell }) => cell)
        .filter((cell) => !pattern || sees(pattern, position, cell.position, kvHead, cache.shape.kvHeads));
      const scores = Float64Array.from(cells, (cell) => {
        const key = cache.key(sequence, cell, position, layer, kvHead);
        const far = pattern !== undefined && position - cell.position >= pattern.window && pattern.window > 0;
        const score =
          scale *
          (far ? sinkScore(cache.policy, layer, queryOf(head), key, position, cell.position) : dot(queryOf(head), key));
        return softcap === 0 ? score : softCap(score, softcap);
      });
      return { cells, weights: softmaxOf(scores) };
    };
  };
  for (const [sequence, voters] of compress ?? []) {
    const own = rows.flatMap((row, index) => (row.sequence === sequence ? [index] : [])).slice(-voters);
    const end = rows[own[own.length - 1]].visible.length;
    compressLayer({ cache, sequence, layer, heads, end, window }, (head) =>
      own.map((row) => attending(row)(head).weights),
    );
  }
  return [
    matrixBy(q.rows, heads * valueDim, (row) => {
      const attend = attending(row);
      const y = new Float64Array(heads * valueDim);
      for (let head = 0; head < heads; ++head) {
        const { cells, weights } = attend(head);
        weights.forEach((weight, index) => {
          const value = cells[index].values[layer][Math.floor(head / group)].values;
          for (let i = 0; i < valueDim; ++i) y[head * valueDim + i] += weight * value[i];
        });
      }
      return y;
    }),
  ];
};
