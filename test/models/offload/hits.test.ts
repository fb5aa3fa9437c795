// What stays is what the replacement rule says: hits are those of textbook caches that are shown the recorded routing.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadModel, openModelFile, planExperts, type ExpertPolicy, type RoutingRecord } from '../../../lib/index.js';
import { writeRandomGguf } from '../../fixtures/random-model.js';
import { mixture } from './mixture.js';

const folder = mkdtempSync(join(tmpdir(), 'vivace-'));
const file = join(folder, 'mixture.gguf');
beforeAll(() => writeRandomGguf(file, mixture, 'Q4_0'));
afterAll(() => rmSync(folder, { recursive: true }));

interface Textbook {
  has(key: number): boolean;
  use(key: number): void;
}

const fixed = (capacity: number): Textbook => ({ has: (key) => key < capacity, use: () => undefined });

function lru(capacity: number): Textbook {
  const held: number[] = [];
  return {
    has: (key) => held.includes(key),
    use: (key) => {
      if (held.includes(key)) held.splice(held.indexOf(key), 1);
      held.push(key);
      if (held.length > capacity) held.shift();
    },
  };
}

/** Figure 4 of Megiddo and Modha's paper (2003), by whole lists. */
function arc(c: number): Textbook {
  let [t1, t2, b1, b2] = [[], [], [], []] as number[][];
  let p = 0;
  const without = (list: number[], key: number): number[] => list.filter((other) => other !== key);
  const replace = (key: number): void => {
    if (t1.length > 0 && (t1.length > p || (b2.includes(key) && t1.length === p))) {
      b1 = [...b1, t1[0]];
      t1 = t1.slice(1);
    } else {
      b2 = [...b2, t2[0]];
      t2 = t2.slice(1);
    }
  };
  return {
    has: (key) => t1.includes(key) || t2.includes(key),
    use: (key) => {
      if (c === 0) return;
      if (t1.includes(key) || t2.includes(key)) {
        t1 = without(t1, key);
        t2 = [...without(t2, key), key];
      } else if (b1.includes(key)) {
        p = Math.min(c, p + Math.max(1, b2.length / b1.length));
        replace(key);
        b1 = without(b1, key);
        t2 = [...t2, key];
      } else if (b2.includes(key)) {
        p = Math.max(0, p - Math.max(1, b1.length / b2.length));
        replace(key);
        b2 = without(b2, key);
        t2 = [...t2, key];
      } else {
        if (t1.length + b1.length === c) {
          if (t1.length < c) {
            b1 = b1.slice(1);
            replace(key);
          } else {
            t1 = t1.slice(1);
          }
        } else if (t1.length + t2.length + b1.length + b2.length >= c) {
          if (t1.length + t2.length + b1.length + b2.length === 2 * c) b2 = b2.slice(1);
          replace(key);
        }
        t1 = [...t1, key];
      }
    },
  };
}

/** Per layer: experts that were needed and there. */
function hitsOf({ runs }: RoutingRecord, caches: readonly Textbook[]): number[] {
  return caches.map((cache, layer) => {
    let hits = 0;
    for (const { layers } of runs) {
      const needed = [...new Set(layers[layer].chosen)].sort((a, b) => b - a);
      hits += needed.filter((id) => cache.has(id)).length;
      for (const id of needed) cache.use(id);
    }
    return hits;
  });
}

test.each([
  ['on-demand', fixed],
  ['lru', lru],
  ['activation-path', lru],
  ['fate', arc],
] as const satisfies readonly (readonly [ExpertPolicy, (capacity: number) => Textbook])[])('%s', async (policy, textbook) => {
  const source = openModelFile(file);
  const { slotBytes } = planExperts(source, { memory: 2 ** 20 })!;
  const experts = { memory: 26 * slotBytes, policy, placement: 'uniform', trace: true, overfetch: 1 } as const;
  const model = await loadModel(file, { device: 'cpu', threads: 2, contextLength: 160, prefixCache: false, experts });
  const capacities = model.experts.plan!.layers.map(({ slots }) => slots);
  expect(Math.min(...capacities)).toBeGreaterThan(2);
  for (const seed of [1n, 2n]) {
    using session = model.createSession();
    // Warm enough for experts to come again and again, and to change.
    for await (const _ of session.generate(Int32Array.of(7), { maxTokens: 100, temperature: 1.5, seed })) continue;
  }
  const routing = model.experts.routing();
  const { layers, accuracy } = model.experts.statistics()!;
  model.dispose();
  // A fixed choice is read when it is first needed.
  const wanted = hitsOf(routing, capacities.map(textbook));
  const firsts = policy === 'on-demand' ? capacities : capacities.map(() => 0);
  layers.forEach(({ hits }, layer) => {
    expect(hits).toBeLessThanOrEqual(wanted[layer]);
    expect(hits).toBeGreaterThanOrEqual(wanted[layer] - firsts[layer]);
  });
  expect(layers.some(({ hits, needed }) => hits > needed / 10)).toBe(true);

  if (policy !== 'fate') return;
  // Accuracy is what the record says: of the choices of each run, those that were among its predictions.
  let [choices, foreseen] = [0, 0];
  for (const run of routing.runs)
    for (const { chosen, predicted } of run.layers) {
      if (!predicted) continue;
      choices += chosen.length;
      foreseen += chosen.filter((id) => predicted.includes(id)).length;
    }
  expect(accuracy).toBeCloseTo(foreseen / choices, 12);
});
