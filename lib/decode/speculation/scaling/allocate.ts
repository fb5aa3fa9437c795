// Which nodes of which sequences' trees are worth a common budget of rows: the ones with the highest path probabilities.

/** Per depth (from 0: the first drafted token) and rank of a child among its siblings: the share of rounds that keep it. */
export type ChildRates = readonly (readonly number[])[];

export interface Allocation {
  /** Per sequence: drafted tokens. */
  readonly nodes: number[];
  /** Tokens of the round to be expected, the one that every sequence gets included. */
  readonly expected: number;
}

interface Node {
  readonly sequence: number;
  readonly depth: number;
  readonly rank: number;
  readonly path: number; // probability that the parent is kept
  readonly value: number; // that it is kept
}

/**
 * Spends `budget` nodes. A node's value is the product of the rates on its path, so it is at most its parent's and at most
 * its older sibling's: taking the best first is optimal (Σ of independent trees with falling gains). `widths`: children per
 * node at most.
 */
export function allocateNodes(
  sequences: readonly { readonly rates: ChildRates; readonly depth: number; readonly width: number }[],
  budget: number,
): Allocation {
  const nodes = sequences.map(() => 0);
  const frontier: Node[] = []; // a heap, the best on top
  const offer = (sequence: number, depth: number, rank: number, path: number): void => {
    const { rates, depth: deepest, width } = sequences[sequence];
    const rate = depth < deepest && rank < width ? (rates[depth]?.[rank] ?? 0) : 0;
    if (rate > 0) push(frontier, { sequence, depth, rank, path, value: path * rate });
  };
  sequences.forEach((_, sequence) => offer(sequence, 0, 0, 1));
  let expected = sequences.length;
  for (let spent = 0; spent < budget; spent++) {
    const best = pop(frontier);
    if (best === undefined) break;
    expected += best.value;
    nodes[best.sequence]++;
    offer(best.sequence, best.depth + 1, 0, best.value);
    offer(best.sequence, best.depth, best.rank + 1, best.path);
  }
  return { nodes, expected };
}

function push(heap: Node[], node: Node): void {
  let place = heap.push(node) - 1;
  while (place > 0) {
    const above = (place - 1) >> 1;
    if (heap[above].value >= node.value) break;
    heap[place] = heap[above];
    place = above;
  }
  heap[place] = node;
}

function pop(heap: Node[]): Node | undefined {
  const [top] = heap;
  const last = heap.pop();
  if (last === undefined || heap.length === 0) return top;
  let place = 0;
  for (;;) {
    let below = 2 * place + 1;
    if (below >= heap.length) break;
    if (below + 1 < heap.length && heap[below + 1].value > heap[below].value) below++;
    if (heap[below].value <= last.value) break;
    heap[place] = heap[below];
    place = below;
  }
  heap[place] = last;
  return top;
}
