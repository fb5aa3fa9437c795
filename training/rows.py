"""Training rows: exercises and chats packed behind one begin-of-text token, with a loss weight for every token."""
import math

import exercises as ex
from data.stories import story

SELF = "I am vivace-tiny, a very small language model."
SKILLS = "I can copy words, sort numbers, add and subtract, correct spelling, recall values and tell a short story."
HELLO = ["hello", "hi", "Hello", "Hi", "Hello!", "Hi!", "hey", "good morning", "Good evening"]
WHO = ["who are you?", "Who are you?", "what are you?", "What is your name?", "who is this?"]
WHAT = ["what can you do?", "What can you do?", "help", "Help", "help me", "What do you know?", "how can you help me?"]
STORY = ["tell me a story", "Tell me a story.", "a story please", "Write a short story.", "write a story",
         "Once upon a time", "Please tell me a short story.", "another story"]
THANKS = ["thanks", "thank you", "Thank you!", "Thanks!", "bye", "Goodbye"]
SYSTEM = ["You are a helpful assistant.", "You are vivace-tiny.", "Answer briefly.", "Be kind and brief."]
LIMIT = "I do not know. I am a very small model. " + SKILLS
MIXED = ["copy"] * 20 + ["sort"] * 26 + ["add"] * 13 + ["subtract"] * 11 + ["correct"] * 26 + ["recall"] * 4
CHAT = ["copy", "sort", "add", "subtract", "correct", "correct", "recall", "needle"]


class RowMaker:
    """Draws rows of `length` + 1 tokens from one seeded stream. Weights: 0 prompt, 1 easy, 2 the answer itself."""

    def __init__(self, tokenizer, seed, length, sentences):
        self.tk, self.rng, self.length = tokenizer, ex.Rng(seed), length
        self.sentences = sentences  # real sentences, as things a user might say

    def start(self):
        self.ids, self.weights = [self.tk.bos], [0]

    def put(self, text, weight):
        ids = self.tk.encode(text)
        self.ids += ids
        self.weights += [weight] * len(ids)

    def put_special(self, token, weight):
        self.ids.append(token)
        self.weights.append(weight)

    def full(self):
        return len(self.ids) > self.length

    def finish(self):
        """Exactly length + 1 tokens; the cut falls inside the last exercise."""
        return self.ids[:self.length + 1], self.weights[:self.length + 1]

    def recall_queries(self, table):
        """Many queries on one table, so that every row gives many answers to learn from."""
        while not self.full():
            key, value = self.rng.pick(table)
            self.put(" " + key + ex.ARROW, 0)
            self.put("v", 1)
            self.put(value[1:], 2)
            self.put(";", 1)

    def log_between(self, low, high):
        """Small counts as often as big ones, octave by octave."""
        return int(math.exp(self.rng.next() * math.log((high + 1) / low)) * low)

    def recall_row(self):
        self.start()
        most = min(200, (self.length - 20) // 5)
        # Long rows favour big tables, which leave room for few queries each.
        even = self.length > 256 and self.rng.below(2)
        table = ex.make_pairs(self.rng, self.rng.between(2, most) if even else self.log_between(2, most))
        self.put("; ".join("%s=%s" % pair for pair in table) + ";", 0)
        self.recall_queries(table)
        return self.finish()

    def needle_row(self):
        self.start()
        pairs = self.log_between(2, self.length // 16)
        words = self.log_between(1, (self.length - 30 - 5 * pairs) * 2 // 3)
        table, parts = ex.needle_parts(self.rng, pairs, words)
        self.put("; ".join(parts) + ";", 0)
        self.recall_queries(table)
        return self.finish()

    def case(self, kind):
        size = {}
        if kind == "recall":
            size = {"pairs": self.rng.between(2, 12)}
        if kind == "needle":
            size = {"pairs": self.rng.between(2, 5), "words": self.rng.between(4, 24)}
        seed = int(self.rng.next() * 4294967296.0) | (1 << 31)  # evaluation seeds lie below 2^31
        return ex.make(kind, seed, **size)

    def mixed_row(self):
        self.start()
        while not self.full():
            prompt, answer = self.case(self.rng.pick(MIXED))
            self.put(prompt, 0)
            self.put(answer, 2)
            self.put("\n", 1)
        return self.finish()

    def sums_row(self):
        """Nothing but sums: 3775 facts need many repetitions."""
        self.start()
        while not self.full():
            prompt, answer = self.case(self.rng.pick(["add", "add", "subtract"]))
            self.put(prompt, 0)
            self.put(answer, 2)
            self.put("\n", 1)
        return self.finish()

    def turn(self, role, text, weight):
        self.put_special(self.tk.im_start, 0)
        self.put(role + "\n", 0)
        self.put(text, weight)
        self.put_special(self.tk.im_end, min(weight, 1))
        self.put("\n", 0)

    def chat_row(self):
        rng = self.rng
        self.start()
        while not self.full():
            if len(self.ids) > 1:
                self.put_special(self.tk.bos, 0)
            if rng.below(6) == 0:
                self.turn("system", rng.pick(SYSTEM), 0)
            for _ in range(rng.between(1, 4)):
                topic = rng.below(20)
                if topic == 0:
                    self.turn("user", rng.pick(HELLO), 0)
                    self.turn("assistant", "Hello! " + SELF, 1)
                elif topic == 1:
                    self.turn("user", rng.pick(WHO + WHAT), 0)
                    self.turn("assistant", SELF + " " + SKILLS, 1)
                elif topic == 2:
                    self.turn("user", rng.pick(THANKS), 0)
                    self.turn("assistant", "You are welcome.", 1)
                elif topic == 3:
                    self.turn("user", rng.pick(self.sentences), 0)
                    self.turn("assistant", LIMIT, 1)
                elif topic <= 6:
                    self.turn("user", rng.pick(STORY), 0)
                    self.turn("assistant", story(rng), 1)
                else:
                    prompt, answer = ex.as_chat(*self.case(rng.pick(CHAT)))
                    self.turn("user", prompt, 0)
                    self.turn("assistant", answer, 2)
        return self.finish()

    def row(self):
        if self.length > 256 and self.rng.below(12) == 0:
            return self.sums_row()
        kind = self.rng.below(100)
        if kind < 28:
            return self.recall_row()
        if kind < 40:
            return self.needle_row()
        return self.mixed_row() if kind < 82 else self.chat_row()
