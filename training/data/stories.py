"""Short stories in plain English from a small seeded grammar: clean sentences that a tiny model can learn to write."""
from exercises import WORDS

NAMES_HE = ["Tom", "Ben", "Peter", "Sam", "Jack", "Henry", "Oliver", "George"]
NAMES_SHE = ["Anna", "Mary", "Lucy", "Emma", "Rose", "Clara", "Alice", "Jane"]
MOODS = ["happy", "sad", "tired", "proud", "afraid", "surprised", "hungry", "glad", "calm", "angry"]
WEATHER = ["The sun was shining", "It was raining", "The wind was cold", "The sky was grey", "Snow was falling",
           "The air was warm", "The night was very dark", "There was a thick fog"]
REASONS = ["because it was getting late", "because the road was long", "because {he} was very {mood}",
           "because nobody was there", "because {he} had lost {his} way", "so that {he} could rest",
           "and then {he} went home", "but nothing happened", "and smiled", "without a word"]
SIGHTS = ["a {adj} {animal}", "a {adj} {thing}", "an old {person}", "a {thing} under a tree", "two {animal2} near the {place}",
          "a light in the {place}", "a {adj} {person} with a {thing}"]
ACTIONS = ["{he} picked it up and looked at it", "{he} stopped and waited", "{he} ran back to the {place}",
           "{he} sat down on a stone", "{he} called for help", "{he} opened the door", "{he} gave it to the {person}",
           "{he} put it in {his} bag", "{he} laughed out loud", "{he} did not know what to do"]
SPEECH = ["\"Where are you going?\" asked the {animal}.", "\"Come with me,\" said the {person}.",
          "\"This is my {thing},\" said {name}.", "\"I am {mood},\" said {name}.", "\"Thank you,\" said the {person}.",
          "\"Do not be {mood},\" said the {person}. \"We will find the {thing}.\"",
          "\"Have you seen my {thing}?\" asked {name}. \"No,\" said the {person}, \"but look in the {place}.\"",
          "\"It is too late,\" said the {animal}.", "\"Please help me,\" said {name}.",
          "\"What a {adj} {thing}!\" said the {person}."]
OPENINGS = ["Once upon a time there was a {adj} {person} named {name}.", "{name} was a {adj} {person} who lived near the {place}.",
            "One {time} {name} {moved} to the {place}.", "There was once a {adj} {person} called {name}.",
            "Long ago, a {adj} {person} lived in a small house by the {place}. The {person} was called {name}.",
            "Early in the {time}, {name} left the house and {moved} to the {place}."]
MIDDLES = ["{weather}, and {name} was {mood}.", "{he_up} had a {adj} {animal} and a {thing}.",
           "On the way {he} saw {sight}.", "In the {place} there was {sight}.", "{act_up}.", "{act_up} {reason}.",
           "{name} {past} the {thing} {reason}.", "The {animal} {moved} to the {place} and {past} the {thing}.",
           "The {person} was {adj} but very {mood}.", "Then {name} {moved} to the {place} {reason}.",
           "After that, {he} {past} a {adj} {thing}.", "{name} was {mood}, {reason}.",
           "When {name} came to the {place}, {he} saw {sight}.", "Every {time} {he} {moved} to the {place} with the {animal}."]
ENDINGS = ["From that day on, {name} was never {mood} again.", "At last {name} came home and went to sleep.",
           "And so {name} and the {animal} became good friends.", "{name} went home and told {his} mother everything.",
           "In the end the {person} gave {name} the {thing}, and everyone was {mood}.",
           "That {time} {name} slept well.", "They lived in the {place} for many years."]


class Story:
    """One story keeps its names, so that later sentences can refer to the same hero, animal, thing and place."""

    def __init__(self, rng):
        self.rng = rng
        she = rng.below(2)
        self.name = rng.pick(NAMES_SHE if she else NAMES_HE)
        self.person = rng.pick(["girl", "woman", "queen", "baker", "teacher"] if she else
                               ["boy", "man", "king", "farmer", "sailor", "soldier"])
        self.fixed = {"name": self.name, "he": "she" if she else "he", "his": "her" if she else "his",
                      "he_up": "She" if she else "He"}
        self.animal, self.thing, self.place = (rng.pick(WORDS[g]) for g in ("animals", "things", "places"))
        self.other = rng.pick(WORDS["people"])

    def slot(self, key):
        rng = self.rng
        if key in self.fixed:
            return self.fixed[key]
        if key == "animal":
            return self.animal
        if key == "animal2":
            return {"mouse": "mice", "sheep": "sheep", "wolf": "wolves", "fox": "foxes"}.get(self.animal, self.animal + "s")
        if key == "thing":
            return self.thing if rng.below(3) else rng.pick(WORDS["things"])
        if key == "place":
            return self.place if rng.below(3) else rng.pick(WORDS["places"])
        if key == "person":
            return self.other
        if key == "act_up":
            text = self.fill(rng.pick(ACTIONS))
            return text[0].upper() + text[1:]
        source = {"adj": WORDS["adjectives"], "mood": MOODS, "time": WORDS["times"][:8], "moved": WORDS["moved"],
                  "past": WORDS["past"], "weather": WEATHER, "reason": REASONS, "sight": SIGHTS}[key]
        return self.fill(rng.pick(source))

    def fill(self, template):
        out, rest = [], template
        while "{" in rest:
            before, rest = rest.split("{", 1)
            key, rest = rest.split("}", 1)
            out += [before, self.slot(key)]
        text = "".join(out) + rest
        for vowel in "aeiou":
            text = text.replace(" a " + vowel, " an " + vowel)
        return text[2:] if text.startswith("a a ") else text

    def opening(self):
        kept, self.other = self.other, self.person
        text = self.fill(self.rng.pick(OPENINGS))
        self.other = kept
        return text

    def text(self, fresh):
        sentences, used = [self.opening()], set()
        for _ in range(self.rng.between(2, 7)):
            pool = SPEECH if self.rng.below(4) == 0 else MIDDLES
            template = self.rng.pick(pool)
            while fresh and template in used:
                template = self.rng.pick(pool)
            used.add(template)
            sentences.append(self.fill(template))
        sentences.append(self.fill(self.rng.pick(ENDINGS)))
        return " ".join(sentences)


def story(rng, fresh=False):
    """`fresh` stories use no template twice: they end the training, so that greedy decoding does not fall into a loop."""
    return Story(rng).text(fresh)


if __name__ == "__main__":
    from exercises import Rng
    for seed in range(8):
        print(story(Rng(seed), fresh=True) + "\n")
