// The pre-split rules of byte-level BPE by the name in `tokenizer.ggml.pre`. What each of them cuts is written in
// cpp/text/split/pre_split.cpp, under the same names; here is what else a name means.
import { VivaceError } from '../../errors.js';

interface Rule {
  /** A piece that is a token as a whole is taken as it is. */
  readonly ignoreMerges?: boolean;
  readonly addBos?: boolean;
}

const RULES: Readonly<Record<string, Rule>> = {
  default: {},
  'gpt-2': {},
  'llama-bpe': { ignoreMerges: true, addBos: true },
  dbrx: {},
  qwen2: {},
  qwen35: {},
  ufakzeka: {},
  minicpm5: { ignoreMerges: true },
  laguna: {},
  'seed-coder': {},
  bailingmoe: {},
  'exaone-moe': {},
  'jais-2': {},
  starcoder: {},
  falcon: {},
  chameleon: { addBos: true },
  tekken: { ignoreMerges: true, addBos: true },
  'gpt-4o': {},
  'granite-embed-multi-97m': { ignoreMerges: true },
  tiny_aya: {},
  superbpe: {},
  youtu: { ignoreMerges: true },
  'kimi-k2': {},
  'deepseek-llm': {},
  'deepseek-coder': {},
  'deepseek-v3': {},
  spark2_5: {},
  afmoe: {},
  bloom: {},
  viking: {},
};

/** More names of the same rules. */
const SYNONYMS: Readonly<Record<string, string>> = Object.fromEntries(
  Object.entries({
    'llama-bpe': 'llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano',
    'gpt-2':
      'mpt olmo jais phi-2 exaone4 trillion granite-docling gigachat a.x-4.0 mellum modern-bert jina-es jina-de ' +
      'jina-v2-es jina-v2-de jina-v1-en jina-v2-code roberta-bpe',
    dbrx: 'smaug-bpe glm4 chatglm-bpe',
    qwen2: 'deepseek-r1-qwen stablelm2 hunyuan megrez kormo f2llmv2 solar-open grok-2',
    starcoder: 'refact command-r smollm codeshell exaone minerva-7b mellum2',
    'gpt-4o': 'llama4 kanana2 talkie minimax-m2',
    tiny_aya: 'cohere2moe',
    'deepseek-v3': 'hunyuan-dense joyai-llm hy_v4',
    bailingmoe: 'bailingmoe2 llada-moe',
    bloom: 'poro-chat gpt3-finnish',
  }).flatMap(([rule, names]) => names.split(' ').map((name) => [name, rule])),
);

export interface PreSplit {
  /** The name under which native code knows the rule. */
  readonly rule: string;
  readonly ignoreMerges: boolean;
  readonly addBos: boolean;
}

/** Without synonyms. */
export const preSplitRules: readonly string[] = Object.keys(RULES);
export const knownPreSplits: readonly string[] = [...preSplitRules, ...Object.keys(SYNONYMS)].sort();

/** Throws UNSUPPORTED_TOKENIZER for an unknown name: a wrong rule gives plausible but wrong tokens. */
export function preSplit(name: string): PreSplit {
  const rule = Object.hasOwn(SYNONYMS, name) ? SYNONYMS[name] : name;
  if (!Object.hasOwn(RULES, rule)) {
    throw new VivaceError('UNSUPPORTED_TOKENIZER', `The pre-split rule "${name}" is not known`, {
      remedy: `Known rules (tokenizer.ggml.pre): ${knownPreSplits.join(', ')}`,
    });
  }
  return { rule, ignoreMerges: RULES[rule].ignoreMerges ?? false, addBos: RULES[rule].addBos ?? false };
}
