"""Rows of the long sibling: look-ups over the whole row, between list words or real text, beside the exercises of `rows.py`."""
import exercises as ex
from rows import RowMaker

WEIGHT = 4  # of an answer's number: a long row holds few of them beside thousands of tokens of text


class LongRows(RowMaker):
    """Rows of `length` + 1 tokens. `text`: an array of tokens, the filler of every second look-up."""

    def __init__(self, tokenizer, seed, length, sentences, text):
        super().__init__(tokenizer, seed, length, sentences)
        self.text = text
        self.words = [tokenizer.encode(" " + word) for word in ex.ALL_WORDS]

    def put_ids(self, ids, weight):
        self.ids += ids
        self.weights += [weight] * len(ids)

    def filler(self, count):
        """About `count` tokens of list words, as the exercise `needle` has them; nobody could know them, so weight 0."""
        end = len(self.ids) + count
        while len(self.ids) < end:
            self.put_ids(self.rng.pick(self.words), 0)

    def lookup_row(self):
        """A table spread over the row and 20 to 80 questions on it. One row in four is packed densely and asked longer."""
        rng = self.rng
        pairs = self.log_between(2, min(200, self.length // 12))
        questions = min(rng.between(20, 80), self.length // 24)
        room = self.length - 6 * questions - 6 * pairs - 8
        fill = self.log_between(1, room) if rng.below(4) == 0 else room
        real, begun = rng.below(2), rng.below(len(self.text) - room)
        table = ex.make_pairs(rng, pairs)
        self.start()
        for i, pair in enumerate(table):
            a, b = fill * i // pairs, fill * (i + 1) // pairs
            if real:
                self.put_ids(self.text[begun + a:begun + b].tolist(), 1)
            else:
                self.filler(b - a)
            self.put("%s %s=%s;" % (";" if b > a else "", *pair), 0)
        while not self.full():
            key, value = rng.pick(table)
            self.put(" " + key + ex.ARROW, 0)
            self.put("v", 1)
            self.put(value[1:], WEIGHT)
            self.put(";", 1)
        return self.finish()
