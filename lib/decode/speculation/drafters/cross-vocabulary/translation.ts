// What a target says, in a drafter's tokens; and what a drafter drafts, in the target's.
import type { TokenList } from '../../../token-list.js';
import { Alignment, segment } from './alignment.js';
import { NGramCache, type NGramCacheOptions } from './n-gram-cache.js';

/** Tokens of a draft that stand for tokens of the target: mostly one or several for one. */
export interface Group {
  /** At least one. */
  readonly targets: readonly number[];
  /** Places in the draft. */
  readonly begin: number;
  readonly end: number;
}

const nothing = new Int32Array();

/** One pair of vocabularies, and what was learned about it. Generations share it. */
export class Translation {
  readonly cache: NGramCache;
  private readonly splits = new Map<number, readonly number[]>();

  constructor(
    readonly alignment: Alignment,
    options: NGramCacheOptions,
  ) {
    this.cache = new NGramCache(options);
  }

  /** Learns all tokens of the target that fit, the first ones first: in vocabularies of merges the most frequent ones. */
  learnAll(): void {
    const { target, inverse } = this.alignment;
    const { cache } = this;
    for (let token = 0; token < inverse.length && cache.size < cache.options.maxEntries; token++) {
      if (inverse[token] < 0 && !target.isSpecial(token)) this.learn(token);
    }
  }

  /**
   * A whole text, once: its stretches between control tokens as the drafter's tokenizer writes them, with its begin of text
   * before. Control tokens that have no counterpart are left out.
   */
  begin(tokens: Int32Array): Int32Array {
    const { target, drafter, inverse } = this.alignment;
    const frame = drafter.encode('');
    const out: number[] = [...frame];
    // What encode() puts behind a text is not for a text that goes on.
    if (frame.length > 1 && frame[frame.length - 1] === drafter.special.eos) out.pop();
    let run: Uint8Array[] = [];
    let first = true;
    const flush = (): void => {
      let bytes = Buffer.concat(run);
      run = [];
      if (bytes.length === 0) return;
      if (first && target.addsSpacePrefix && bytes[0] === 0x20) bytes = bytes.subarray(1);
      first = false;
      const whole = wholeCharacters(bytes);
      out.push(...drafter.encode(bytes.subarray(0, whole).toString('utf8'), { addSpecial: false }));
      out.push(...(segment(bytes.subarray(whole), drafter, this.alignment.drafterPieces) ?? nothing));
    };
    for (const token of tokens) {
      if (!target.isSpecial(token)) {
        run.push(target.piece(token).slice());
        continue;
      }
      flush();
      if (inverse[token] >= 0) out.push(inverse[token]);
    }
    flush();
    return Int32Array.from(out);
  }

  /**
   * One more token of the target, which the cache learns if it has to: its own counterpart, or its run, or what the drafter's
   * tokenizer makes of its bytes. Empty: the drafter cannot say it.
   */
  tokensOf(token: number): Int32Array {
    const { target, inverse } = this.alignment;
    const { cache } = this;
    const own = inverse[token] ?? -1;
    if (own >= 0) return Int32Array.of(own);
    const known = cache.route(token);
    if (known) {
      cache.touch(token);
      return known;
    }
    if (cache.isUnreachable(token) || token >= inverse.length || target.isSpecial(token)) return nothing;
    return this.learn(token);
  }

  private learn(token: number): Int32Array {
    const { target, drafter, drafterPieces } = this.alignment;
    const run = segment(target.piece(token), drafter, drafterPieces);
    if (run) this.cache.insert(token, run);
    else this.cache.markUnreachable(token);
    return run ?? nothing;
  }

  /**
   * A draft in the target's tokens, up to the end of the answer or to the first token that none stands for. At each place the
   * longest run that the cache knows, or the token's own counterpart; with `split`, tokens that stand for several of the
   * target's become these; `direct`: counterparts only.
   */
  merge(tokens: Int32Array, how: 'direct' | 'runs' | 'split'): Group[] {
    const { target, direct } = this.alignment;
    const { cache } = this;
    const groups: Group[] = [];
    for (let at = 0; at < tokens.length;) {
      const run = how === 'direct' ? undefined : cache.longest(tokens, at);
      cache.lookups++;
      let targets: readonly number[];
      if (run) {
        cache.found++;
        cache.touch(run.target);
        targets = [run.target];
      } else if ((direct[tokens[at]] ?? -1) >= 0) targets = [direct[tokens[at]]];
      else targets = how === 'split' ? this.split(tokens[at]) : [];
      if (targets.length === 0) break;
      const end = at + (run?.length ?? 1);
      groups.push({ targets, begin: at, end });
      if (target.endOfGeneration.has(targets[0])) break;
      at = end;
    }
    return groups;
  }

  /**
   * A draft in the target's tokens as the target's tokenizer cuts it, up to the end of the answer or to what it cannot say.
   * Groups end where tokens of both end.
   */
  recut(tokens: Int32Array): Group[] {
    const { target, drafter, direct, targetPieces } = this.alignment;
    const ends: number[] = []; // of the drafter's tokens, in bytes
    const pieces: Uint8Array[] = [];
    let length = 0;
    for (const token of tokens) {
      if (token >= direct.length || drafter.isSpecial(token)) break;
      const piece = drafter.piece(token).slice();
      pieces.push(piece);
      ends.push((length += piece.length));
    }
    const bytes = Buffer.concat(pieces);
    const text = bytes.subarray(0, wholeCharacters(bytes));
    const groups: Group[] = [];
    let begin = 0; // of the group, in the draft
    let next = 0; // the first of the drafter's tokens that does not end before the target's
    let at = 0;
    let targets: number[] = [];
    for (const token of segment(text, target, targetPieces) ?? nothing) {
      targets.push(token);
      at += target.piece(token).length;
      while (ends[next] < at) next++;
      if (ends[next] !== at) continue;
      next++;
      groups.push({ targets, begin, end: next });
      begin = next;
      targets = [];
    }
    const last = tokens[ends.length];
    const end = direct[last] ?? -1;
    if (begin === ends.length && end >= 0) groups.push({ targets: [end], begin, end: begin + 1 });
    return groups;
  }

  /**
   * The end of the drafter's text as its own tokenizer writes it: of the last `most` tokens those from the first one that begins
   * with white space to the last such one, behind which a word may be unfinished. Undefined: it is written so already.
   */
  resegmented(text: TokenList, most: number): { readonly begin: number; readonly tokens: Int32Array } | undefined {
    const { drafter, drafterPieces } = this.alignment;
    const first = Math.max(0, text.length - most);
    const tail = text.slice(first);
    const isSpace = (token: number): boolean => drafter.piece(token)[0] === 0x20 || drafter.piece(token)[0] === 0x0a;
    const after = tail.findLastIndex((token) => drafter.isSpecial(token)) + 1;
    const begin = tail.findIndex((token, i) => i >= after && i + first > 0 && isSpace(token));
    const end = tail.findLastIndex((token) => isSpace(token));
    if (begin < 0 || end <= begin) return undefined;
    const old = tail.subarray(begin, end);
    const bytes = Buffer.concat(Array.from(old, (token) => drafter.piece(token).slice()));
    const words = segment(bytes, drafter, drafterPieces);
    if (!words || (words.length === old.length && words.every((token, i) => token === old[i]))) return undefined;
    return { begin: first + begin, tokens: Int32Array.from([...words, ...tail.subarray(end)]) };
  }

  /** A token of the drafter as several of the target's; empty: they cannot say it. */
  split(token: number): readonly number[] {
    let parts = this.splits.get(token);
    if (parts === undefined) {
      const { target, drafter, targetPieces, direct } = this.alignment;
      const says = token < direct.length && !drafter.isSpecial(token);
      parts = [...((says && segment(drafter.piece(token), target, targetPieces)) || nothing)];
      this.splits.set(token, parts);
    }
    return parts;
  }
}

/** Bytes before a character that is begun at the end. */
function wholeCharacters(bytes: Uint8Array): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back];
    if (byte < 0x80) break;
    if (byte < 0xc0) continue; // the rest of a character
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
    return back < length ? bytes.length - back : bytes.length;
  }
  return bytes.length;
}
