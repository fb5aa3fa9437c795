"""Exercises with known answers; every case follows from a seed, so any language can regenerate it (see README)."""
import json
import os

HERE = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(HERE, "data", "words.json"), encoding="utf-8") as handle:
    WORDS = json.load(handle)
ALL_WORDS = [word for group in WORDS.values() for word in group]
KNOWN = set(ALL_WORDS)
MASK = 0xFFFFFFFF
ARROW = "\u2192"
LETTERS = "abcdefghijklmnopqrstuvwxyz"
KINDS = ["recall", "needle", "copy", "sort", "add", "subtract", "correct"]


class Rng:
    """mulberry32: 32 bits of state, the same stream from a few lines of TypeScript (Math.imul)."""

    def __init__(self, seed):
        self.state = seed & MASK

    def next(self):
        """The next number in [0, 1)."""
        self.state = (self.state + 0x6D2B79F5) & MASK
        t = self.state
        t = ((t ^ (t >> 15)) * (t | 1)) & MASK
        t ^= (t + (((t ^ (t >> 7)) * (t | 61)) & MASK)) & MASK
        return ((t ^ (t >> 14)) & MASK) / 4294967296.0

    def below(self, n):
        return int(self.next() * n)

    def between(self, low, high):
        """An integer in [low, high], both ends included."""
        return low + self.below(high - low + 1)

    def pick(self, items):
        return items[self.below(len(items))]

    def sample(self, items, count):
        """`count` different items: the first steps of a Fisher-Yates shuffle of a copy."""
        items = list(items)
        for i in range(count):
            j = i + self.below(len(items) - i)
            items[i], items[j] = items[j], items[i]
        return items[:count]


def make_pairs(rng, count):
    """`count` different keys (k00..k99, and m00..m99 when more than 100) with values v00..v99."""
    numbers = rng.sample(range(100 if count <= 100 else 200), count)
    return [("%s%02d" % ("k" if n < 100 else "m", n % 100), "v%02d" % rng.below(100)) for n in numbers]


def recall(rng, pairs):
    """`k17=v93; k05=v12; k17→` answers `v93`."""
    table = make_pairs(rng, pairs)
    key, value = rng.pick(table)
    return "; ".join("%s=%s" % pair for pair in table) + "; " + key + ARROW, value


def needle_parts(rng, pairs, words):
    """The table as in recall, with `words` filler words spread evenly in runs before the pairs."""
    table = make_pairs(rng, pairs)
    parts = []
    for i, pair in enumerate(table):
        run = words * (i + 1) // pairs - words * i // pairs
        if run:
            parts.append(" ".join(rng.pick(ALL_WORDS) for _ in range(run)))
        parts.append("%s=%s" % pair)
    return table, parts


def needle(rng, pairs, words):
    """`river stone; k17=v93; old lamp; k05=v12; k17→` answers `v93`."""
    table, parts = needle_parts(rng, pairs, words)
    key, value = rng.pick(table)
    return "; ".join(parts) + "; " + key + ARROW, value


def copy(rng, words):
    """`copy: river stone lamp →` answers ` river stone lamp`; one list in four is of numbers 0..99."""
    numbers = rng.below(4) == 0
    text = " ".join(str(rng.below(100)) if numbers else rng.pick(ALL_WORDS) for _ in range(words))
    return "copy: %s %s" % (text, ARROW), " " + text


def sort(rng, count):
    """`sort: 5 31 9 →` answers ` 5 9 31`; the numbers differ and lie in 0..99."""
    numbers = rng.sample(range(100), count)
    return ("sort: %s %s" % (" ".join(map(str, numbers)), ARROW),
            "".join(" %d" % n for n in sorted(numbers)))


def add(rng):
    """`12+30=` answers `42`; both terms lie in 0..49."""
    a, b = rng.below(50), rng.below(50)
    return "%d+%d=" % (a, b), str(a + b)


def subtract(rng):
    """`40-12=` answers `28`; 0 ≤ b ≤ a ≤ 49."""
    a = rng.below(50)
    b = rng.below(a + 1)
    return "%d-%d=" % (a, b), str(a - b)


def sentence(rng):
    """A lower-case sentence of 5 to 11 list words and function words, without punctuation."""
    w = WORDS
    shape = rng.below(6)
    who = rng.pick(w["animals"] if rng.below(2) else w["people"])
    if shape == 0:
        return "the %s %s %s over the %s %s" % (rng.pick(w["adjectives"]), who, rng.pick(w["moved"]),
                                                rng.pick(w["adjectives"]), rng.pick(w["animals"]))
    if shape == 1:
        return "the %s %s the %s in the %s" % (who, rng.pick(w["past"]), rng.pick(w["things"]), rng.pick(w["places"]))
    if shape == 2:
        return "a %s %s %s to the %s" % (rng.pick(w["adjectives"]), who, rng.pick(w["moved"]), rng.pick(w["places"]))
    if shape == 3:
        return "in the %s the %s %s a %s %s" % (rng.pick(w["times"][:8]), who, rng.pick(w["past"]),
                                                rng.pick(w["adjectives"]), rng.pick(w["things"]))
    if shape == 4:
        return "my %s %s your %s and the %s" % (who, rng.pick(w["past"]), rng.pick(w["things"]), rng.pick(w["things"]))
    return "the %s near the %s is %s and %s" % (who, rng.pick(w["places"]), rng.pick(w["adjectives"]),
                                                rng.pick(w["adjectives"]))


def misspell(rng, word):
    """One error: 0 swaps two neighbours, 1 drops a letter, 2 doubles one, 3 replaces one. Tries until it is no word."""
    while True:
        kind = rng.below(4)
        i = rng.below(len(word) - 1)
        if kind == 0:
            wrong = word[:i] + word[i + 1] + word[i] + word[i + 2:]
        elif kind == 1:
            wrong = word[:i] + word[i + 1:]
        elif kind == 2:
            wrong = word[:i] + word[i] + word[i:]
        else:
            wrong = word[:i] + rng.pick(LETTERS) + word[i + 1:]
        if wrong != word and wrong not in KNOWN:
            return wrong


def correct(rng):
    """`correct: the qiuck fox →` answers ` the quick fox`: one list word of at least four letters is misspelt."""
    words = sentence(rng).split(" ")
    places = [i for i, word in enumerate(words) if word in KNOWN and len(word) >= 4]
    if not places:
        return correct(rng)
    wrong = list(words)
    place = rng.pick(places)
    wrong[place] = misspell(rng, words[place])
    return "correct: %s %s" % (" ".join(wrong), ARROW), " " + " ".join(words)


def make(kind, seed, **size):
    """One case from its seed. Sizes left out are drawn first, from the same stream."""
    rng = Rng(seed)
    if kind == "recall":
        return recall(rng, size.get("pairs") or rng.between(2, 100))
    if kind == "needle":
        pairs = size.get("pairs") or rng.between(2, 20)
        return needle(rng, pairs, size["words"] if "words" in size else rng.between(10, 200))
    if kind == "copy":
        return copy(rng, size.get("words") or rng.between(2, 12))
    if kind == "sort":
        return sort(rng, size.get("count") or rng.between(2, 8))
    return {"add": add, "subtract": subtract, "correct": correct}[kind](rng)


def as_chat(prompt, answer):
    """The same case as a user turn and an assistant turn: no arrow after a space, no leading space."""
    return prompt[:-2] if prompt.endswith(" " + ARROW) else prompt, answer.strip()


if __name__ == "__main__":
    # 50 cases a kind: seed 1000 + index; recall and needle kept short enough for a quick test.
    with open(os.path.join(HERE, "data", "eval.jsonl"), "w", encoding="utf-8") as out:
        for name in KINDS:
            for index in range(50):
                options = {"recall": {"pairs": 2 + index}, "needle": {"pairs": 2 + index % 9, "words": 2 * index}}
                prompt, answer = make(name, 1000 + index, **options.get(name, {}))
                case = {"kind": name, "seed": 1000 + index, **options.get(name, {}), "prompt": prompt, "answer": answer}
                out.write(json.dumps(case, ensure_ascii=False) + "\n")
