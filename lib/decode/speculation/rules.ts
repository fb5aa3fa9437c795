// Which tokens of a draft a target keeps, and what it says next: the rules in their plainest form, over whole laws in float64
// and with chance as an argument, so that tests can enumerate every outcome. cpp/decode/verify/verify.cpp does the same on rows of
// logits; cuda/decode has it for cards.
//
// A draft is a tree of rows: row 0 is the last token of the text (the root), the others are drafted tokens, each after its
// parent; children of one row are different tokens. `p` is the target's law after every logits processor, for the text up
// to and with the row; `q` the law that the row's children were drawn from.
//
// Exact, in any mixture over the rows of a draft:
//   match   a token is drawn from p as without a draft; the child that is this token is kept, else the token ends the draft.
//           Exact whatever the children are. For children that were chosen (not drawn) nothing accepts more: a child is kept
//           with probability p(child). With the plain sampler's random numbers even the text is the same, not only its law.
//   ratio   children in the order drawn: child c is kept with probability min(1, p(c) / q(c)), else p becomes
//           norm(max(p − q, 0)), and without replacement q loses c; in the end a token is drawn from what p became.
//           One child: Leviathan et al. 2022 (arXiv 2211.17192), theorem 1, and Chen et al. 2023 (2302.01318). More:
//           SpecInfer (2305.09781) with replacement, Sequoia (2402.12374) without. Proof by one step: the token is x with
//           probability min(p, q)(x) + (1 − Σ min(p, q)) · max(p − q, 0)(x) / Σ max(p − q, 0) = p(x), as Σ max(p − q, 0) is
//           1 − Σ min(p, q); by induction over the children, of which each is drawn independently of what p became.
//   block   a drawn chain as a whole, Sun et al. 2024 (2403.10444): keeps more tokens than ratio, never fewer on average.
// Lossy:
//   typical a child with p(child) > min(ε, δ · e^−H(p)) is kept: Cai et al. 2024 (2401.10774), section 2.3.1.
//   relaxed a child among the `top` most probable tokens, not less probable than the first by more than `gap`, is kept.
//   divergence  where the law of a row's drawn children is nearer to p than `bound`, the first of them that p allows is kept
//           whatever it is; elsewhere as ratio. The threshold without training that a judge is compared with (arXiv 2601.04766).
// Beyond the rules, and lossy: a second reading of the draft may have changed p (reflective/), and a judge may keep what a
// rule refuses (judge/).
import type { Measure, VerifyRule } from '../../program/executor.js';
import { bestJudged, bestPath } from './judge/rule.js';
import type { Allows, Judgement } from './judge/rule.js';

/** Rows of a draft: `tokens[0]` is the root, `parents[0]` is −1. */
export interface DraftRows {
  readonly tokens: ArrayLike<number>;
  readonly parents: ArrayLike<number>;
}

/**
 * What the children of a row were drawn from, and they in this order. What was drawn may be no token of the target's, with an
 * id beyond them: it is refused, and the row behind it may have any token.
 */
export interface DrawnChildren {
  readonly law: Float64Array;
  readonly drawn: readonly number[];
}

export interface Drawing {
  readonly nodes: readonly (DrawnChildren | undefined)[]; // per row
  readonly replacement: boolean;
}

/** Decisions at random. `after` is the number of tokens kept since the root. */
export interface Chance {
  accepts(probability: number, after: number, what: 'trial' | 'block', trial: number): boolean;
  /** A token by its weights, not all 0, in ascending order; `plain`: with the random number of plain decoding. */
  draws(weights: Float64Array, after: number, how: 'plain' | 'residual'): number;
}

export interface Verdict {
  /** Rows that stay, ascending, the root first. */
  readonly kept: number[];
  /** What the target says after each of them; the last one is new. */
  readonly tokens: number[];
  /** Rows that only the judge kept. */
  readonly judged: number[];
}

export interface Beyond {
  /** Where `lawAt` is a mixture and what follows a refused token is to come from the first reading: that one's law. */
  readonly plainAt?: (row: number, path: readonly number[]) => Float64Array | undefined;
  readonly judge?: Judgement;
  /** For the judge; default: what has any probability. */
  readonly allows?: Allows;
  /** The laws are single tokens. */
  readonly greedy?: boolean;
}

/** `lawAt(row, path)`: p after the row, `path` being the drafted tokens up to it. */
export type LawAt = (row: number, path: readonly number[]) => Float64Array;

export function verifyDraft(
  draft: DraftRows,
  rule: VerifyRule,
  lawAt: LawAt,
  chance: Chance,
  drawing?: Drawing,
  beyond: Beyond = {},
): Verdict {
  const { judge, plainAt, allows = (row, path, token) => lawAt(row, path)[token] > 0 } = beyond;
  if (rule.name === 'block' && !judge && drawing && isDrawnChain(draft, drawing)) {
    return byBlock(draft, lawAt, chance, drawing, plainAt);
  }
  const kept = [0];
  const tokens: number[] = [];
  const judged: number[] = [];
  const said = (row: number, path: readonly number[]): number => lawAt(row, path).findIndex((value) => value > 0);
  const path = judge && beyond.greedy && isTree(draft) ? bestPath(draft, judge, said, allows) : undefined;
  let run = 0;
  for (let row = 0; row >= 0;) {
    const law = lawAt(row, tokens);
    const node = drawing?.nodes[row];
    const children = childrenOf(draft, row);
    const after = tokens.length;
    let token: number | undefined;
    if (rule.name === 'typical') token = byType(law, children, rule.epsilon, rule.delta);
    else if (rule.name === 'relaxed') token = byRank(law, children, rule.top, rule.gap);
    else if (rule.name !== 'match' && drawing && node && node.drawn.length > 0 && children.length > 0) {
      token =
        (rule.name === 'divergence' ? byDivergence(law, node, rule.bound, rule.measure) : undefined) ??
        byRatio(law, node, drawing.replacement, chance, after);
    } else token = chance.draws(law, after, 'plain');
    token ??= chance.draws(law, after, 'residual');
    let next = childOf(draft, row, token);
    let byJudge = false;
    if (judge && (path || next < 0)) {
      const other = path ? (path[after] ?? -1) : bestJudged(draft, judge, row, tokens, run, allows);
      byJudge = other >= 0 && other !== next;
      if (byJudge) {
        next = other;
        token = draft.tokens[other];
        judged.push(other);
      }
    }
    if (next < 0 && children.length > 0) {
      const plain = plainAt?.(row, tokens);
      if (plain) {
        token = chance.draws(correction(plain, rule, children, node, drawing), after, 'residual');
        next = childOf(draft, row, token);
      }
    }
    run = byJudge ? run + 1 : 0;
    tokens.push(token);
    row = next;
    if (row > 0) kept.push(row);
  }
  return { kept, tokens, judged };
}

/** What follows by the first reading, where a mixture refused all children. */
function correction(
  plain: Float64Array,
  rule: VerifyRule,
  children: readonly number[],
  node: DrawnChildren | undefined,
  drawing: Drawing | undefined,
): Float64Array {
  if (rule.name === 'typical' || rule.name === 'relaxed') return plain;
  if (rule.name !== 'match' && drawing && node && node.drawn.length > 0) {
    return afterRefusals(plain, node, drawing.replacement);
  }
  return children.reduce((law, child) => residual(law, pointAt(child, law.length)), plain);
}

const pointAt = (token: number, length: number): Float64Array => {
  const law = new Float64Array(length);
  law[token] = 1;
  return law;
};

function afterRefusals(
  law: Float64Array,
  { law: drawnFrom, drawn }: DrawnChildren,
  replacement: boolean,
): Float64Array {
  let p = law;
  let q = drawnFrom;
  for (const token of drawn) {
    p = residual(p, q);
    if (replacement) continue;
    const rest = q.slice();
    rest[token] = 0;
    const total = sum(rest);
    if (total <= 0) break;
    q = rest.map((value) => value / total);
  }
  return p;
}

function isTree({ tokens, parents }: DraftRows): boolean {
  for (let i = 1; i < tokens.length; i++) if (parents[i] !== i - 1) return true;
  return false;
}

export function childOf({ tokens, parents }: DraftRows, row: number, token: number): number {
  for (let i = row + 1; i < tokens.length; i++) if (parents[i] === row && tokens[i] === token) return i;
  return -1;
}

function childrenOf({ tokens, parents }: DraftRows, row: number): number[] {
  const children: number[] = [];
  for (let i = row + 1; i < tokens.length; i++) if (parents[i] === row) children.push(tokens[i]);
  return children;
}

const sum = (values: Float64Array): number => values.reduce((total, value) => total + value, 0);

/** norm(max(scale · p − q, 0)), or p where that would be nothing. */
function residual(p: Float64Array, q: Float64Array, scale = 1): Float64Array {
  const left = p.map((value, token) => Math.max(scale * value - q[token], 0));
  const total = sum(left);
  return total > 0 ? left.map((value) => value / total) : p;
}

function byRatio(
  law: Float64Array,
  { law: drawnFrom, drawn }: DrawnChildren,
  replacement: boolean,
  chance: Chance,
  after: number,
): number {
  let p = law;
  let q = drawnFrom;
  for (const [trial, token] of drawn.entries()) {
    if (chance.accepts(q[token] > 0 ? Math.min(1, p[token] / q[token]) : Number(p[token] > 0), after, 'trial', trial)) {
      return token;
    }
    p = residual(p, q);
    if (replacement) continue;
    const rest = q.slice();
    rest[token] = 0;
    const total = sum(rest);
    if (total <= 0) break;
    q = rest.map((value) => value / total);
  }
  return chance.draws(p, after, 'residual');
}

function byType(p: Float64Array, children: readonly number[], epsilon: number, delta: number): number | undefined {
  const entropy = -sum(p.map((value) => (value > 0 ? value * Math.log(value) : 0)));
  const least = Math.min(epsilon, delta * Math.exp(-entropy));
  return children.find((token) => p[token] > least);
}

function byRank(p: Float64Array, children: readonly number[], top: number, gap: number): number | undefined {
  const greatest = p.reduce((a, b) => Math.max(a, b), 0);
  return children.find((token) => {
    const better = p.reduce((count, value) => count + Number(value > p[token]), 0);
    return p[token] > 0 && p[token] >= greatest - gap && better < top;
  });
}

/** In nats; infinite where the first law has a token that the second one does not. */
export function divergence(p: Float64Array, q: Float64Array, measure: Measure): number {
  const from = (a: Float64Array, b: Float64Array): number =>
    sum(a.map((value, token) => (value > 0 ? value * Math.log(value / b[token]) : 0)));
  // A drafter's law may have an id beyond the target's tokens.
  const own = Float64Array.from(q, (_, token) => p[token] ?? 0);
  if (measure === 'p from q') return from(own, q);
  if (measure === 'q from p') return from(q, own);
  const mean = q.map((value, token) => (value + own[token]) / 2);
  return (from(own, mean) + from(q, mean)) / 2;
}

function byDivergence(
  p: Float64Array,
  { law, drawn }: DrawnChildren,
  bound: number,
  measure: Measure,
): number | undefined {
  return divergence(p, law, measure) < bound ? drawn.find((token) => p[token] > 0) : undefined;
}

/** One token was drawn behind each row. Two that happen to be equal are none: a rule must not depend on what was drawn. */
function isDrawnChain({ tokens, parents }: DraftRows, { nodes }: Drawing): boolean {
  for (let i = 1; i < tokens.length; i++) {
    if (parents[i] !== i - 1 || (nodes[i - 1]?.drawn.length ?? 2) > 1) return false;
  }
  return true;
}

/**
 * π_0 = 1, π_i = min(π_{i−1} · p_i(d_i) / q_i(d_i), 1); position i is reached with probability h_i = s_i / (s_i + 1 − π_i),
 * s_i = Σ max(π_i · p_{i+1} − q_{i+1}, 0), the last one with π; the longest reached prefix stays, and what follows it is
 * drawn from norm(max(π · p − q, 0)).
 */
function byBlock(
  { tokens }: DraftRows,
  lawAt: LawAt,
  chance: Chance,
  { nodes }: Drawing,
  plainAt: Beyond['plainAt'],
): Verdict {
  const drafted = Array.from(tokens).slice(1);
  const laws = [lawAt(0, [])];
  const qs = drafted.map((_, i) => (nodes[i] as DrawnChildren).law);
  const ratios = [1];
  drafted.forEach((token, i) => {
    const [drawn = token] = (nodes[i] as DrawnChildren).drawn;
    const q = qs[i][drawn];
    ratios.push(Math.min(q > 0 ? (ratios[i] * laws[i][drawn]) / q : 1, 1));
    laws.push(lawAt(i + 1, drafted.slice(0, i + 1)));
  });
  let kept = 0;
  for (let i = 1; i <= drafted.length; i++) {
    let reached = ratios[i];
    if (i < drafted.length) {
      const excess = sum(laws[i].map((value, token) => Math.max(ratios[i] * value - qs[i][token], 0)));
      reached = excess > 0 ? excess / (excess + 1 - ratios[i]) : 0;
    }
    if (chance.accepts(reached, i, 'block', 0)) kept = i;
  }
  const last = kept < drafted.length ? (plainAt?.(kept, drafted.slice(0, kept)) ?? laws[kept]) : laws[kept];
  const left = kept < drafted.length ? residual(last, qs[kept], ratios[kept]) : last;
  const next = chance.draws(left, kept, 'residual');
  return { kept: Array.from({ length: kept + 1 }, (_, i) => i), tokens: [...drafted.slice(0, kept), next], judged: [] };
}
