// What a round asks of the executor: the rows of some jobs, their outputs and drafts; and what each got.
import type {
  DraftTree,
  DraftWalk,
  Executor,
  Proposal,
  RowSampler,
  RunRequest,
  RunResult,
} from '../program/executor.js';
import { outcomeOf, type Outcome, type Waiting } from './ahead.js';
import type { Job, JobDraft, JobDrafting, JobPlan, JobResult, OpenDraft, RoundLoad } from './rounds.js';
import { jointly } from './speculation/scaling/joint.js';

export interface Entry extends Waiting {
  done: number; // tokens that are in the cache
  cancelled: boolean;
  /** Rows of a prompt that must share its last round, in which it is compressed; 0: it is not. */
  readonly voters: number;
  /** Layers that all of its rows pass one after the other; 0: every run is the whole model. */
  readonly layers: number;
  /** That they pass now; `done` rows have. */
  layer: number;
}

/** The next `rows` tokens of a job; with its draft, if it has one and this is its end. */
export interface Share {
  readonly entry: Entry;
  readonly rows: number;
  readonly draft: JobDraft | undefined;
  /** A draft that is still to be cut. */
  readonly open?: OpenDraft;
  /** Of a draft that is still to come: rows that it may have. */
  readonly room?: number;
  /** Of a job that plans, at its end. */
  readonly plan?: JobPlan;
}

export interface Place {
  /** Index of the job's first output in this round, and how many it has. */
  readonly output: number;
  readonly wanted: number;
}

export function buildRequest(
  shares: readonly Share[],
  vocab: number,
  executor: Pick<Executor, 'taps' | 'inputs'>,
): { request: RunRequest; places: Place[] } {
  const rows = shares.reduce((sum, share) => sum + rowsOf(share), 0);
  const tokens = new Int32Array(rows);
  const positions = new Int32Array(rows);
  const sequences = new Int32Array(rows);
  const parents = shares.some(({ draft }) => draft?.parents ?? draft?.probe) ? new Int32Array(rows) : undefined;
  const outputs: number[] = [];
  const samplers: (RowSampler | null)[] = [];
  const walks: DraftWalk[] = [];
  const masks: (Uint32Array | null)[] = [];
  const drafts: ({ proposal: Proposal; cycle: number } | null)[] = [];
  const trees: DraftTree[] = [];
  const places: Place[] = [];
  let row = 0;
  for (const share of shares) {
    const { entry, rows: count, draft } = share;
    const { kv, sequence, sampler, logits } = entry;
    const begin = kv.length(sequence) + (entry.layers > 0 ? entry.done : 0);
    tokens.set(entry.tokens.subarray(entry.done, entry.done + count), row);
    for (let i = 0; i < count; i++) {
      positions[row + i] = begin + i;
      if (parents) parents[row + i] = i === 0 ? -1 : row + i - 1;
    }
    sequences.fill(sequence, row, row + rowsOf(share));
    // The last row is in this round, to its end.
    const end = entry.done + count === entry.tokens.length && entry.layer + 1 >= entry.layers;
    const firstRow = logits
      ? Math.max(logits.firstRow, entry.done)
      : end && sampler
        ? entry.tokens.length - 1
        : Infinity;
    const place = { output: outputs.length, wanted: Math.max(0, entry.done + count - firstRow) };
    places.push(place);
    for (let i = count - place.wanted; i < count; i++) {
      outputs.push(row + i);
      const last = end && i === count - 1;
      samplers.push(last && !draft && !entry.tree ? (sampler ?? null) : null);
      masks[outputs.length - 1] = (last && !draft && entry.mask) || null;
      if (last && entry.tree && sampler) trees.push({ ...entry.tree, sampler, output: outputs.length - 1 });
      const { proposal, cycle = 1 } = (end && entry.drafting) || {};
      drafts.push(proposal ? { proposal, cycle } : null);
    }
    const root = row + count - 1;
    draft?.tokens.forEach((token, node) => {
      const parent = root + 1 + (draft.parents ? draft.parents[node] : node - 1);
      const own = root + 1 + node;
      tokens[own] = token;
      positions[own] = positions[parent] + 1;
      if (parents) parents[own] = parent;
      outputs.push(own);
      samplers.push(null);
      drafts.push(null);
    });
    const again = draft?.again;
    const behind = root + 1 + (draft?.tokens.length ?? 0);
    again?.tokens.forEach((token, index) => {
      const own = behind + index;
      const parent = root + 1 + again.parents[index];
      tokens[own] = token;
      positions[own] = positions[parent] + 1;
      if (parents) parents[own] = parent;
    });
    for (const index of again?.outputs ?? []) {
      outputs.push(behind + index);
      samplers.push(null);
      drafts.push(null);
    }
    const probe = draft?.probe;
    const last = behind + (again?.tokens.length ?? 0);
    probe?.tokens.forEach((token, index) => {
      const parent = probe.parents[index] < 0 ? root : last + probe.parents[index];
      tokens[last + index] = token;
      positions[last + index] = positions[parent] + 1;
      if (parents) parents[last + index] = parent;
    });
    for (const index of probe?.outputs ?? []) {
      outputs.push(last + index);
      samplers.push(probe?.sampler ?? null);
      drafts.push(null);
    }
    if (draft && sampler) {
      const { rule, proposal, cycle, judge, masks: limits } = draft;
      const walk = { output: place.output + place.wanted - 1, rows: 1 + draft.tokens.length, sampler, rule, cycle };
      const lossy = { ...(again ? { reflection: again } : {}), ...(judge ? { judge } : {}) };
      const limited = limits ? { masks: limits } : {};
      walks.push({ ...walk, ...(proposal ? { proposal } : {}), ...lossy, ...limited });
    }
    row += rowsOf(share);
  }
  const judges = shares.flatMap(({ draft, plan }) => {
    const judge = draft?.judge ?? plan?.drafting?.judge;
    return judge ? [judge.feature] : [];
  });
  const wanted = shares.flatMap(({ entry }) => entry.taps?.names ?? []);
  const tapped = [...new Set([...judges, ...wanted])].sort();
  const compressing = shares.filter((share) => compresses(share) && share.entry.layers === 0);
  const asking = shares.filter(({ entry }, index) => entry.logits && places[index].wanted > 0);
  const request = {
    tokens,
    positions,
    sequences,
    outputs: Int32Array.from(outputs),
    ...(parents ? { parents } : {}),
    ...partOf(shares),
    ...(compressing.length > 0
      ? { compress: new Map(compressing.map(({ entry }) => [entry.sequence, entry.voters])) }
      : {}),
    ...(samplers.some((sampler) => sampler !== null) || walks.length + trees.length > 0 ? { samplers } : {}),
    ...(masks.some((mask) => mask) ? { masks: Array.from(outputs, (_, i) => masks[i] ?? null) } : {}),
    ...(trees.length > 0 ? { trees } : {}),
    ...(walks.length > 0 ? { walks } : {}),
    ...(drafts.some((draft) => draft !== null) ? { drafts } : {}),
    ...inputsOf(shares, rows, executor.inputs),
    ...(tapped.length > 0
      ? { taps: Object.fromEntries(tapped.map((name) => [name, new Float32Array(rows * executor.taps[name])])) }
      : {}),
    ...(judges.length > 0 ? { judged: judges.filter((name) => !wanted.includes(name)) } : {}),
    ...(asking.length > 0 ? { logits: logitsOf(shares, asking, outputs.length, vocab) } : {}),
  };
  return { request, places };
}

/** Rounds that draft are of several steps: nobody else waits for them in the middle; layers are passed by one job at a time. */
export const kindOf = ({ drafting, tree, layers }: Entry): string =>
  drafting ? 'chain' : tree ? 'tree' : layers > 0 ? 'layers' : 'text';

/** What a job wants of the run that begins; `room`: rows that a draft may have. `failed`: it has been rejected with the reason. */
export function planOf(entry: Entry, sequences: number, alone: boolean, room: number): JobPlan | 'failed' | undefined {
  try {
    const plan = entry.plan?.(sequences, alone);
    const { drafting } = plan ?? {};
    if (!plan || !drafting?.begins || drafting.maxNodes <= room) return plan;
    return { ...plan, drafting: { ...drafting, begins: false } };
  } catch (error) {
    entry.reject(error);
    return 'failed';
  }
}

/** Layers that a prompt's rows pass one after the other, when it is compressed; 0: some rows pass all of them at a time. */
export function layersOf(
  { kv, taps, logits, inputs }: Job,
  voters: number,
  { parts = 0 }: Pick<Executor, 'parts'>,
): number {
  return voters > 0 && kv.byLayer === true && !taps && !logits && !inputs ? parts : 0;
}

/** A round was for so many of a job's rows; whether it was the last one. */
export function advance(entry: Entry, rows: number): boolean {
  entry.done += rows;
  if (entry.done === entry.tokens.length && entry.layer + 1 < entry.layers) {
    entry.layer++;
    entry.done = 0;
  }
  return entry.done === entry.tokens.length;
}

/** Of a job whose rows pass layer by layer, which has rounds of its own. */
function partOf([{ entry }]: readonly Share[]): Pick<RunRequest, 'part'> {
  const { layers, layer, done, tokens, voters } = entry;
  return layers === 0 ? {} : { part: { layer, first: done, rows: tokens.length, voters } };
}

/** Whether a job's rows pass layer by layer, and have begun to. */
export const isUnderWay = ({ layers, layer, done }: Entry): boolean => layers > 0 && layer + done > 0;

const nothing = new Float32Array();

/** What jobs bring beside their tokens; zeros for rows that have none. */
function inputsOf(shares: readonly Share[], rows: number, widths: Executor['inputs']): Pick<RunRequest, 'inputs'> {
  const names = Object.keys(widths);
  if (names.length === 0) return {};
  const inputs = Object.fromEntries(names.map((name) => [name, new Float32Array(rows * widths[name])]));
  let row = 0;
  for (const share of shares) {
    const { done, inputs: own = {} } = share.entry;
    for (const name of names) {
      const width = widths[name];
      inputs[name].set((own[name] ?? nothing).subarray(done * width, (done + share.rows) * width), row * width);
    }
    row += rowsOf(share);
  }
  return { inputs };
}

/** Rows of a prompt in a round that has room for `most`: all that vote for what stays of it are in its last round. */
export function chunkOf({ tokens, done, voters }: Entry, most: number): number {
  const left = tokens.length - done;
  if (most === 0 || most >= left) return Math.min(most, left);
  if (left - most >= voters) return most;
  return left > voters ? left - voters : left;
}

/** A prompt ends with the share and is compressed. */
const compresses = ({ entry, rows }: Share): boolean =>
  entry.voters > 0 && entry.done + rows === entry.tokens.length && entry.layer + 1 >= entry.layers;

const rowsOf = ({ rows, draft }: Share): number => rows + rowsOfDraft(draft);

export const rowsOfDraft = (draft: JobDraft | undefined): number =>
  (draft?.tokens.length ?? 0) + (draft?.again?.tokens.length ?? 0) + (draft?.probe?.tokens.length ?? 0);

/** The draft as it fits into so many rows: as it is, read once, or not at all. */
export function fitDraft(draft: JobDraft | undefined, room: number): JobDraft | undefined {
  if (!draft || rowsOfDraft(draft) <= room) return draft;
  return draft.tokens.length <= room ? readOnce(draft) : undefined;
}

export const isOpen = (draft: JobDraft | OpenDraft | undefined): draft is OpenDraft =>
  draft !== undefined && 'bid' in draft;

/** Cuts the drafts that are open to what pays for all shares together, within a round of `maxRows`. */
export function cutTogether(shares: readonly Share[], maxRows: number): readonly Share[] {
  const opened = shares.flatMap(({ open }) => (open ? [open] : []));
  if (opened.length === 0) return shares;
  const sequences = shares.length;
  const rows = shares.reduce((sum, share) => sum + rowsOf(share), 0);
  const room = Math.max(0, maxRows - rows);
  const drafted = opened.reduce((sum, { bid }) => sum + bid.scores.length, 0);
  const fixed = { rows: shares.reduce((sum, { draft }) => sum + rowsOfDraft(draft), 0), tokens: 0 };
  const costs = opened[0].costs(sequences, fixed.rows + Math.min(room, drafted));
  const bids = opened.map(({ bid }) => bid);
  const nodes = jointly(bids, { sequences, costs, fixed, room });
  return shares.map(({ open, ...share }) => (open ? { ...share, draft: open.cut(nodes.shift() ?? []) } : share));
}

/** What a round did for all of them, where they are several. */
export function loadOf(shares: readonly Share[], request: RunRequest, result: RunResult): RoundLoad | undefined {
  if (shares.length < 2) return undefined;
  const drafted = shares.reduce((sum, { draft }) => sum + (draft ? 1 + draft.tokens.length : 0), 0);
  const tokens = shares.length - shares.filter(({ draft }) => draft).length;
  return {
    sequences: shares.length,
    rows: request.tokens.length,
    tokens: tokens + (drafted > 0 ? result.kept.reduce((sum, flags) => sum + (flags & 1), 0) : 0),
    prompt: shares.some(({ rows }) => rows > 1),
  };
}

export function readOnce({ again: _, probe: __, ...draft }: JobDraft): JobDraft {
  return draft;
}

/** Tells a job of the values that it tapped, at the rows that stay. */
export function hearTaps(
  shares: readonly Share[],
  index: number,
  request: RunRequest,
  result: RunResult,
  { output, wanted }: Place,
): void {
  const { entry, rows, draft } = shares[index];
  const { taps } = entry;
  if (!taps || !request.taps) return;
  const begin = shares.slice(0, index).reduce((sum, share) => sum + rowsOf(share), 0);
  const kept = Array.from({ length: rows }, (_, row) => begin + row);
  const root = output + wanted - 1;
  draft?.tokens.forEach((_, node) => {
    if ((result.kept[root + 1 + node] & 1) === 1) kept.push(begin + rows + node);
  });
  const values = taps.names.map((name) => {
    const all = (request.taps as Record<string, Float32Array>)[name];
    const width = all.length / request.tokens.length;
    const own = new Float32Array(kept.length * width);
    kept.forEach((row, place) => own.set(all.subarray(row * width, (row + 1) * width), place * width));
    return own;
  });
  taps.hear(values, kept.length);
}

/** The tree behind an output. */
export function treeOf(request: RunRequest, result: RunResult, output: number): Outcome {
  const outcome = outcomeOf(result, output);
  const tree = result.trees?.[request.trees?.findIndex((one) => one.output === output) ?? -1];
  return outcome instanceof Error || !tree ? outcome : { ...outcome, tree };
}

/** With what was drawn for a draft's probe, whose outputs come last. */
export function withProbe(
  outcome: Outcome,
  result: RunResult,
  root: number,
  { tokens, again, probe }: JobDraft,
): Outcome {
  if (!probe || outcome instanceof Error) return outcome;
  const first = root + 1 + tokens.length + (again?.outputs.length ?? 0);
  return { ...outcome, probed: result.tokens.slice(first, first + probe.outputs.length) };
}

/** The caller's own memory when nobody else has outputs in this round, else memory for all of them. */
function logitsOf(shares: readonly Share[], asking: readonly Share[], outputs: number, vocab: number): Float32Array {
  const [{ entry }] = asking;
  if (shares.length === 1 && entry.logits) {
    const from = Math.max(0, entry.done - entry.logits.firstRow) * vocab;
    return entry.logits.out.subarray(from, from + outputs * vocab);
  }
  return new Float32Array(outputs * vocab);
}

/** What a sequence's draft became: one result per round, until one that is too improbable, or an error, ends it. */
function draftOf(results: readonly RunResult[], output: number, { steps, least, stop }: JobDrafting): Outcome {
  const draft: JobResult[] = [];
  for (const result of results.slice(0, steps)) {
    const outcome = outcomeOf(result, output);
    if (outcome instanceof Error) {
      if (draft.length === 0) return outcome;
      break;
    }
    draft.push(outcome);
    if (!stop && Math.exp(outcome.logprob) < least) break;
  }
  if (stop) draft.length = stop.length(draft.map(({ logprob }) => logprob));
  return { ...draft[0], draft };
}

/** A draft ends where it should, though the round went on for others. */
export function endDraft(entry: Entry, drafting: JobDrafting, all: readonly RunResult[], output: number): Outcome {
  const outcome = draftOf(all, output, drafting);
  const length = outcome instanceof Error ? 0 : (outcome.draft?.length ?? 0);
  retract(entry, all.slice(length), output);
  return outcome;
}

/** Takes back what a sampler drew in these rounds. */
export function retract({ sampler }: Entry, rounds: readonly RunResult[], output: number): void {
  sampler?.retract(Int32Array.from(rounds, ({ tokens }) => tokens[output]).filter((token) => token >= 0));
}

/** How long a round goes on by itself where all of its jobs are at their ends and draft. */
export function draftingOf(shares: readonly Share[]): Omit<NonNullable<RunRequest['ahead']>, 'told'> | undefined {
  const drafting = shares.map(({ entry }) => entry.drafting);
  const ends = shares.every(({ entry, rows }) => entry.done + rows === entry.tokens.length);
  if (!ends || !drafting.every((one) => one !== undefined)) return undefined;
  const steps = Math.max(...drafting.map((one) => one.steps));
  const run = { rounds: Int32Array.of(steps), limit: steps, ends: new Int32Array(), quiet: true };
  // Drafts of different rules go on to the longest one's end.
  const [{ stop }] = drafting;
  if (drafting.some((one) => one.stop !== stop)) return run;
  if (stop) return { ...run, stop: stop.values };
  return { ...run, least: Math.min(...drafting.map((one) => one.least)) };
}

/** In rounds with trees, rows are committed by hand, unless the run goes on; those of drafts have been. Prompts that were compressed change. */
export function keepRows(shares: readonly Share[], { parents }: RunRequest, ahead: boolean): void {
  for (const { entry, rows, draft } of shares) {
    const ordinals = Int32Array.from({ length: rows }, (_, ordinal) => ordinal);
    if (parents && !draft && !ahead) entry.kv.keep(entry.sequence, ordinals);
  }
  for (const { entry } of shares.filter(compresses)) entry.kv.compact?.(entry.sequence);
}
