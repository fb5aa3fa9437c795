// What policies with sinks and a window have in common: patterns and rotations of a model's layers.
import { fullPattern, type KvLayer, type KvPolicy, type SinkRotation } from '../program/kv-policy.js';
import type { CacheModel } from './policy.js';

interface Endless extends Pick<SinkRotation, 'distance' | 'limit'> {
  readonly sinks: number;
  /** The row's own cell counted. */
  readonly window: number;
}

/** Layers that the model itself gives a smaller window keep that, and need no sinks. */
export function endlessPolicy({ kvLayers }: CacheModel, { sinks, window, distance, limit }: Endless): KvPolicy {
  const slides = (layer: KvLayer): boolean => layer.window > 0 && layer.window <= window;
  const layers = kvLayers.map((layer) =>
    slides(layer) ? { ...fullPattern, window: layer.window } : { ...fullPattern, sinks, window },
  );
  const tables: Float64Array[] = [];
  const places = new Map<string, number>();
  const tableOf = (layer: KvLayer): number => {
    if (slides(layer) || !layer.frequencies) return -1;
    const key = layer.frequencies.join();
    const known = places.get(key) ?? tables.push(Float64Array.from(layer.frequencies)) - 1;
    places.set(key, known);
    return known;
  };
  const rotated = kvLayers.map(tableOf);
  if (sinks === 0 || tables.length === 0) return { layers };
  return { layers, rotation: { distance, limit, tables, layers: rotated } };
}
