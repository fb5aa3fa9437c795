// A request of the engine's own making, without an engine: a text of one sequence, nothing of it computed yet.
import type { Entry } from '../../../lib/decode/round-request.js';
import type { KvCache, RowSampler } from '../../../lib/program/executor.js';

export function entryOf(kv: KvCache, text: readonly number[], sampler: RowSampler): Entry {
  const tokens = Int32Array.from(text);
  return { kv, sequence: kv.create(), tokens, done: 0, layer: 0, layers: 0, sampler } as unknown as Entry;
}
