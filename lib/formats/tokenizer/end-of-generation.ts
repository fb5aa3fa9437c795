// Tokens known by their texts: those that end a turn, and those that files often mistype as ordinary text.
import type { SpecialTokens } from '../tokenizer-source.js';
import { TokenType, type Vocabulary } from './vocabulary.js';

/** Texts of tokens that end a generation. */
export const END_TEXTS: readonly string[] = [
  '<|eot_id|>',
  '<|im_end|>',
  '<|end|>',
  '<|return|>',
  '<|call|>',
  '<end_of_turn>',
  '<|endoftext|>',
  '<|end_of_text|>',
  '<|eom_id|>',
  '</s>',
  '<EOT>',
  '_<EOT>',
  '[EOT]',
  '[EOS]',
  '<eos>',
  '<end_of_utterance>',
  '<\uff5cend\u2581of\u2581sentence\uff5c>',
];

/** In this order of preference where the file names no end-of-turn token. */
const TURN_TEXTS: readonly string[] = [
  '<|eot_id|>',
  '<|im_end|>',
  '<|end|>',
  '<end_of_turn>',
  '<|endoftext|>',
  '<|end_of_text|>',
  '<EOT>',
  '_<EOT>',
  '[EOT]',
  '<\uff5cend\u2581of\u2581sentence\uff5c>',
  '<end_of_utterance>',
];

/** Fill-in-the-middle marks: control tokens too, though often typed as user-defined. */
const MIDDLE_TEXTS: readonly string[] = [
  ...['prefix', 'suffix', 'middle', 'pad', 'repo'].flatMap((name) => [
    `<|fim_${name}|>`,
    `<fim_${name}>`,
    `<fim-${name}>`,
  ]),
  ...['begin', 'hole', 'end'].map((name) => `<\uff5cfim\u2581${name}\uff5c>`),
  '<PRE>',
  '<SUF>',
  '<MID>',
  '\u2581<PRE>',
  '\u2581<SUF>',
  '\u2581<MID>',
  '<|repo_name|>',
  '<|file_sep|>',
];

export interface TextTokens {
  readonly eot?: number;
  readonly eom?: number;
  readonly endOfGeneration: ReadonlySet<number>;
  /** All that were found by text. */
  readonly control: ReadonlySet<number>;
}

/**
 * Finds them without decoding the vocabulary, and corrects their type to control, so that user text never yields them.
 * A token of normal type is left alone: "</s>" is also strike-through in HTML.
 */
export function findTextTokens(vocabulary: Vocabulary, special: SpecialTokens, typed: boolean): TextTokens {
  const { types } = vocabulary;
  const found = vocabulary.findFew([...END_TEXTS, ...MIDDLE_TEXTS], typed);
  for (const id of found.values()) types[id] = TokenType.control;
  // In the harmony format <|end|> closes one message of several; <|return|> and <|call|> end the turn.
  const ends = new Map(found);
  if (found.has('<|return|>') && found.has('<|call|>')) ends.delete('<|end|>');
  const eot = special.eot ?? TURN_TEXTS.map((text) => ends.get(text)).find((id) => id !== undefined);
  const eom = special.eom ?? found.get('<|eom_id|>');
  const named = [special.eos, eot, eom, ...(special.endOfGeneration ?? [])];
  const listed = [...named, ...END_TEXTS.map((text) => ends.get(text))];
  const inside = listed.filter((id): id is number => id !== undefined && id >= 0 && id < vocabulary.size);
  return { eot, eom, endOfGeneration: new Set(inside), control: new Set(found.values()) };
}
