// Every option of every drafter and verifier of the public API, with values to try: the types are derived from the API, so that
// `npm run typecheck` fails until a new drafter, verifier, option or word of an option stands here, and random lives take it from here.
import { join } from 'node:path';
import * as api from '../../../lib/index.js';
import type { Drafter, HeadDrafter, JudgeHead, Model, SpeculationOptions, Verifier } from '../../../lib/index.js';

/** What a text and its law owe to the words of an option: `'a' | 'b'`, or `{ name: 'a' … } | { name: 'b' … }`. */
type NameOf<T> = T extends string ? (string extends T ? never : T) : T extends { readonly name: infer N } ? N : never;
/** Objects whole, so that an option within an option is not forgotten either. */
type Whole<T> = T extends string | number | boolean | readonly unknown[] | ArrayLike<unknown> ? T : Required<T>;
/** Values to try: each of the words, both of true and false, at least one of all else. */
type Values<T> = [NameOf<T>] extends [never]
  ? [T] extends [boolean]
    ? readonly [false, true]
    : readonly [Whole<T>, ...T[]]
  : { readonly [N in NameOf<T> & string]: Extract<T, N | { readonly name: N }> };
export type Table<O> = { readonly [K in keyof O]-?: Values<NonNullable<O[K]>> };

type Api = typeof api;
type Last<T extends readonly unknown[]> = Required<T> extends readonly [...unknown[], infer L] ? L : never;
/** Functions of the API that give a drafter. */
export type Makers = {
  [K in keyof Api]: Api[K] extends (...given: never[]) => infer D ? (D extends Drafter ? K : never) : never;
}[keyof Api];
export type OptionsOf<K extends Makers> = Api[K] extends (...given: infer G) => unknown ? NonNullable<Last<G>> : never;
type DrafterTables = { readonly [K in Makers]: Table<OptionsOf<K>> };

type VerifierOf<N> = Extract<Verifier, { readonly name: N }>;
type VerifierTables = {
  readonly [N in NameOf<Verifier>]: N extends Verifier ? N : Table<Omit<VerifierOf<N>, 'name'>>;
};

/** How large drafts are, for whoever makes values of them. */
export type Shapes<T> = { readonly [K in Exclude<keyof SpeculationOptions, 'drafter' | 'verifier'>]-?: T };

export interface Means {
  /** The target. */
  readonly model: Model;
  /** A datastore of the target's tokens. */
  readonly store: string;
  /** Models with the target's vocabulary and with another one. */
  readonly small: Model;
  readonly other: Model;
  /** Folders of the target's heads, if it has some. */
  readonly heads: ((kind: 'eagle' | 'medusa') => string) | undefined;
  /** For files. */
  readonly folder: string;
}

/** A drafter with one option that is not the default. */
export interface DrafterVariant {
  readonly name: string;
  /** The drafter's name, or what refused its options. */
  readonly make: () => Drafter;
  /** Draws where the target draws, so that the ratio of the laws gives another text of the same law. */
  readonly draws: boolean;
  /** It learns while it drafts, or looks at the clock: where it draws, a seed gives another text each time. */
  readonly learns: boolean;
}

export interface Variants {
  readonly drafters: readonly DrafterVariant[];
  dispose(): void;
}

/** All variants; heads are open until `dispose`. */
export function variantsOf({ model, store, small, other, heads, folder }: Means): Variants {
  const adapts: api.OnlineAdaptation[] = [];
  const adaptation = (): api.OnlineAdaptation => {
    const made = api.onlineAdaptation({ maxShare: 0.5, stopThreshold: 0.7 });
    adapts.push(made);
    return made;
  };
  const shown = { topK: 2, width: 3 };
  const profile = new api.AcceptanceProfile();
  const profileFile = join(folder, 'variant-profile.json');
  profile.save(profileFile);
  const tables: DrafterTables = {
    nGram: { minN: [2], maxN: [1], prefer: { latest: 'latest', earliest: 'earliest' }, branches: [3] },
    suffix: { maxDepth: [3], factor: [2.5], offset: [3], minProb: [0], cache: [new api.SuffixCache()] },
    datastore: { minSpan: [1], maxSpan: [2], samples: [3] },
    inputCopy: {
      input: [Int32Array.from({ length: 40 }, (_, i) => 40 + (i % 7))],
      minGram: [2],
      maxGram: [1],
      branches: [3],
      firstDraft: [1],
    },
    lookahead: { n: [2, 6], window: [2], candidates: [2], seed: [false, true] },
    draftModel: { minProbability: [0, 1], temperature: [0, 1.5], tree: [shown], adapt: [adaptation()] },
    draftTree: {
      tree: [[-1, 0, 0, 1, -1]],
      profile: [profile, profileFile],
      temperature: [0, 1.5],
      timed: [false, true],
    },
    crossVocabulary: {
      exactness: {
        greedy: 'greedy',
        match: 'match',
        direct: 'direct',
        'ngram-exact': 'ngram-exact',
        paper: 'paper',
      },
      minProbability: [0, 1],
      maxN: [2],
      maxEntries: [0, 5],
      evict: { lru: 'lru', lfu: 'lfu' },
      warm: [false, true],
      recut: [false, true],
      resegmentTail: [16],
      pairs: [{ 0: 0 }],
      cachePath: [join(folder, 'variant-runs.bin')],
      adapt: [adaptation()],
    },
    eagle: { minProbability: [0, 1], temperature: [0, 1.5], tree: [shown] },
    medusa: { minProbability: [0.3], temperature: [0, 1.5], tree: [shown], profile: [new api.AcceptanceProfile()] },
  };
  const makers: { readonly [K in Makers]: ((options: OptionsOf<K>) => Drafter) | undefined } = {
    nGram: api.nGram,
    suffix: api.suffix,
    datastore: (options) => api.datastore(store, options),
    inputCopy: api.inputCopy,
    lookahead: api.lookahead,
    draftModel: (options) => api.draftModel(small, options),
    draftTree: (options) => api.draftTree(small, options),
    crossVocabulary: (options) => api.crossVocabulary(other, options),
    eagle: heads && ((options) => api.eagle(model, heads('eagle'), options)),
    medusa: heads && ((options) => api.medusa(model, heads('medusa'), options)),
  };
  const open: HeadDrafter[] = [];
  const drafters = (Object.keys(tables) as Makers[]).flatMap((kind) => {
    const make = makers[kind] as ((options: object) => Drafter) | undefined;
    if (!make) return [];
    return settingsOf(tables[kind] as Table<object>).map(([label, options]): DrafterVariant => {
      let made: Drafter | undefined;
      return {
        name: `${kind} ${label}`,
        make: () => {
          made ??= make(options);
          if ('dispose' in made && !open.includes(made as HeadDrafter)) open.push(made as HeadDrafter);
          return made;
        },
        draws: drawsBy(kind, options),
        learns: ['adapt', 'profile', 'timed'].some((key) => key in options),
      };
    });
  });
  return {
    drafters,
    dispose() {
      for (const head of open) head.dispose();
      for (const adapt of adapts) adapt.dispose();
    },
  };
}

/** Options with a value in place of one default each, and what to call them. */
function settingsOf<O extends object>(table: Table<O>): readonly [string, Partial<O>][] {
  return Object.entries<readonly unknown[] | Readonly<Record<string, unknown>>>(table).flatMap(([key, values]) => {
    const list: readonly (readonly [string, unknown])[] = Array.isArray(values)
      ? values.map((value, i) => [['number', 'boolean'].includes(typeof value) ? String(value) : String(i), value])
      : Object.entries(values);
    return list.map(([label, value]): [string, Partial<O>] => [`${key} ${label}`, { [key]: value } as Partial<O>]);
  });
}

function drawsBy(kind: Makers, options: { readonly temperature?: number; readonly exactness?: string }): boolean {
  if (kind === 'crossVocabulary') return ['direct', 'ngram-exact', 'paper'].includes(options.exactness ?? 'match');
  return ['draftModel', 'draftTree', 'eagle', 'medusa'].includes(kind) && options.temperature !== 0;
}

/** `changes`: what the verifier does to the text where tokens are drawn, or always. */
export interface VerifierVariant {
  readonly verifier: Verifier;
  readonly changes?: 'drawn' | 'any';
  /** It looks at the clock: no seed gives a text twice, if it changes texts. */
  readonly timed?: boolean;
}

/** `prompt`: what drafts are read again after; default: the usual request. */
export function verifierVariants(head: JudgeHead, prompt?: number[]): readonly VerifierVariant[] {
  const request = prompt ?? [44, 50, 60];
  const never = { name: 'judge', head, threshold: 1 } as const;
  const tables: VerifierTables = {
    lossless: 'lossless',
    match: 'match',
    block: 'block',
    typical: { epsilon: [0.5], delta: [0.9] },
    relaxed: {
      top: [6],
      gap: [0.4],
      within: { all: 'all', text: 'text', thinking: 'thinking' },
    },
    divergence: {
      bound: [0, 0.6],
      measure: { 'p from q': 'p from q', 'q from p': 'q from p', 'jensen-shannon': 'jensen-shannon' },
    },
    judge: {
      head: [{ ...head, feature: 'pre_norm' } as Required<JudgeHead>],
      threshold: [0, 1],
      protect: [[10, 44]],
      maxJudgedRun: [1],
      rule: { lossless: 'lossless', match: 'match' },
    },
    reflective: {
      alpha: [0, 0.5],
      prompt: [request, ' so:'],
      anchorTokens: [4],
      correctionFrom: { fused: 'fused', base: 'base' },
      fuseBonus: [false, true],
      reflectPaths: [0, 2],
      autoSkip: [false, true],
      probeEvery: [2],
      entropyGate: [0.5],
      reflectIn: { all: 'all', text: 'text', thinking: 'thinking' },
      force: [false, true],
      rule: {
        lossless: 'lossless',
        match: 'match',
        block: 'block',
        typical: { name: 'typical' },
        relaxed: { name: 'relaxed' },
        divergence: { name: 'divergence', bound: 0.3 },
        judge: { name: 'judge', head },
      },
    },
  };
  const bases = {
    typical: {},
    relaxed: {},
    divergence: { bound: 0.3 },
    judge: { head },
    reflective: { autoSkip: false, ...(prompt ? { prompt } : {}) },
  };
  return [
    ...Object.values(tables).flatMap((table): VerifierVariant[] =>
      typeof table === 'string' ? [{ verifier: table }] : [],
    ),
    { verifier: never },
    ...(Object.keys(bases) as (keyof typeof bases)[]).flatMap((name) =>
      settingsOf(tables[name] as Table<object>).map(([, options]): VerifierVariant => {
        const verifier = { name, ...bases[name], ...options } as Verifier;
        const { threshold, alpha, autoSkip, bound } = options as Record<string, unknown>;
        if (threshold === 1 || alpha === 0 || bound === 0) return { verifier };
        const changes = name === 'judge' || name === 'reflective' ? 'any' : 'drawn';
        return { verifier, changes, timed: autoSkip === true };
      }),
    ),
  ];
}
