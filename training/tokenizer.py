"""Byte-level BPE with the llama-3 pre-split: training, encoding, decoding. Forced merges make numbers single tokens."""
import collections
import heapq
import json

import regex  # Debian: python3-regex (the standard re module lacks \p{L})

PATTERN = regex.compile(
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
SPECIALS = ["<|begin_of_text|>", "<|end_of_text|>", "<|im_start|>", "<|im_end|>"]
# One token each: 00..99 (leftmost lowest rank then splits 3 digits as 2+1 or 1+2), the arrow, key and value marks.
FORCED = ["%02d" % n for n in range(100)] + ["\u2192", "=v", " k", " m"]


def byte_alphabet():
    """GPT-2's table: printable bytes stand for themselves, the others move to U+0100 and up."""
    kept = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    table = {b: chr(b) for b in kept}
    for b in range(256):
        if b not in table:
            table[b] = chr(256 + len(table) - len(kept))
    return table


BYTE_TO_CHAR = byte_alphabet()
CHAR_TO_BYTE = {c: b for b, c in BYTE_TO_CHAR.items()}


def to_chars(text):
    return "".join(BYTE_TO_CHAR[b] for b in text.encode("utf-8"))


def train(texts, vocab_size):
    """Learns merges: always the most frequent pair of neighbours (ties: the smaller pair), inside pieces only."""
    merges, made = [], set()
    for word in FORCED:
        chars = to_chars(word)
        left = chars[0]
        for c in chars[1:]:
            if left + c not in made:
                merges.append((left, c))
                made.add(left + c)
            left += c
    merges.append((BYTE_TO_CHAR[32], to_chars("\u2192")))  # " →" from the arrow, which has the lower rank
    made.add(merges[-1][0] + merges[-1][1])
    counts = collections.Counter()
    for text in texts:
        counts.update(PATTERN.findall(text))
    ranks = {pair: i for i, pair in enumerate(merges)}
    words, weights = [], []
    for piece, count in counts.items():
        words.append(merge_piece(list(to_chars(piece)), ranks))
        weights.append(count)
    pairs, where = collections.Counter(), collections.defaultdict(set)
    for i, word in enumerate(words):
        for pair in zip(word, word[1:]):
            pairs[pair] += weights[i]
            where[pair].add(i)
    heap = [(-n, pair) for pair, n in pairs.items()]
    heapq.heapify(heap)
    while len(merges) + 256 + len(SPECIALS) < vocab_size and heap:
        n, pair = heapq.heappop(heap)
        if pairs[pair] != -n:
            if pairs[pair] > 0:
                heapq.heappush(heap, (-pairs[pair], pair))
            continue
        # Numbers stay at two digits, and the arrow never joins the answer that follows it.
        if pair[0] + pair[1] in made or any(c.isdigit() for c in pair[0] + pair[1]) or to_chars("\u2192") in pair[0]:
            pairs[pair] = 0
            continue
        merges.append(pair)
        made.add(pair[0] + pair[1])
        for i in list(where[pair]):
            word = words[i]
            for old in zip(word, word[1:]):
                pairs[old] -= weights[i]
            words[i] = word = join(word, pair)
            for new in zip(word, word[1:]):
                pairs[new] += weights[i]
                where[new].add(i)
                if pair[0] + pair[1] in new:
                    heapq.heappush(heap, (-pairs[new], new))
    return merges


def join(word, pair):
    out, i = [], 0
    while i < len(word):
        if i + 1 < len(word) and word[i] == pair[0] and word[i + 1] == pair[1]:
            out.append(pair[0] + pair[1])
            i += 2
        else:
            out.append(word[i])
            i += 1
    return out


def merge_piece(word, ranks):
    """Merges the pair of lowest rank, leftmost first, until none is left."""
    while len(word) > 1:
        best = min(range(len(word) - 1), key=lambda i: ranks.get((word[i], word[i + 1]), 1 << 30))
        pair = (word[best], word[best + 1])
        if pair not in ranks:
            return word
        word[best:best + 2] = [pair[0] + pair[1]]
    return word


class Tokenizer:
    """Ids: 256 bytes in the alphabet's order of bytes, then merges, then the special tokens at the end."""

    def __init__(self, merges):
        self.merges = [tuple(pair) for pair in merges]
        self.ranks = {pair: i for i, pair in enumerate(self.merges)}
        self.tokens = [BYTE_TO_CHAR[b] for b in range(256)] + [a + b for a, b in self.merges] + SPECIALS
        self.ids = {token: i for i, token in enumerate(self.tokens)}
        self.bos, self.eos, self.im_start, self.im_end = (self.ids[s] for s in SPECIALS)
        self.cache = {}
        self.special_pattern = regex.compile("(" + "|".join(regex.escape(s) for s in SPECIALS) + ")")

    def encode(self, text, specials=False):
        """Ids of the text; with `specials`, text such as <|im_start|> becomes its control token."""
        if specials:
            out = []
            for part in self.special_pattern.split(text):
                out += [self.ids[part]] if part in SPECIALS else self.encode(part)
            return out
        out, cache = [], self.cache
        for piece in PATTERN.findall(text):
            ids = cache.get(piece)
            if ids is None:
                ids = cache[piece] = [self.ids[t] for t in merge_piece(list(to_chars(piece)), self.ranks)]
            out += ids
        return out

    def decode(self, ids):
        data = bytearray()
        for i in ids:
            token = self.tokens[i]
            data += token.encode() if token in SPECIALS else bytes(CHAR_TO_BYTE[c] for c in token)
        return data.decode("utf-8", errors="replace")

    def save(self, path):
        with open(path, "w", encoding="utf-8") as out:
            json.dump({"merges": self.merges}, out, ensure_ascii=False)

    @staticmethod
    def load(path):
        with open(path, encoding="utf-8") as handle:
            return Tokenizer(json.load(handle)["merges"])
