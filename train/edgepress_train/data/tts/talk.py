"""Ordinary speech that holds none of the words to be taught: sentences from a grammar over the dictionary's words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from edgepress_train.data import words
from edgepress_train.data.tts import lexicon

# What stands in braces is drawn from BANKS, or from the dictionary's words of that kind (NN, NNS, NNP, JJ, RB, VBG)
SENTENCES = (
    "{ask} {thing} in the {room}{please}.",
    "{ask} {thing}{please}.",
    "Set {a} {period} {alarm} for {number} {unit}{please}.",
    "What is the {JJ} {NN} of {number} {NNS}?",
    "What's the weather like in {NNP} {when}?",
    "How do I get from {NNP} to the {place}?",
    "Remind me to {do} the {NN} {when}.",
    "Play some {music} by {NNP}.",
    "I was {VBG} the {JJ} {NN} when {who} came into the {room}.",
    "{who} said that the {NN} was {RB} {JJ}.",
    "Did you {do} the {NNS} {when}?",
    "The {JJ} {NNS} of {NNP} are {VBG} {RB}.",
    "There are {number} {NNS} and {number} {NNS} on the {NN}.",
    "Have you ever seen a {JJ} {NN} like that?",
    "No, I don't think the {NN} is {JJ} enough.",
    "Could {who} {do} it before the {NN} starts?",
    "{NNP} and {NNP} are {VBG} in the {place} {when}.",
    "In the news {when}: {NNS} in {NNP} have become {RB} more {JJ}.",
    "The {NN} costs {number} dollars and {number} cents.",
    "My {family} likes {JJ} {NNS}, but I prefer the {JJ} ones.",
    "Please don't forget your {NN} and the {NNS}.",
    "It's {number} minutes past {number}.",
    "Why is the {NN} {VBG} so {RB}?",
    "I'd like {number} {food} and a {food}{please}.",
    "Well, {who} will {do} the {NN}, and then we can {do} the {NNS}.",
    "Oh, really? I thought {who} was {VBG} with {NNP}.",
    "Add {food} and {food} to the shopping list.",
    "Let me tell you about the {NN} of the {JJ} {NN}.",
    "Nobody knows whether the {NNS} were {JJ} or {JJ}.",
    "Yesterday {who} found a {NN} behind the {NN}.",
    "Be careful, the {food} is {JJ}!",
    "{JJ} {NN}, {JJ} {NN}, and a little {NN}.",
    "Call {NNP} and tell {who} about the {NN}.",
    "Good {period}, how was the {NN}?",
    "Sorry, could you say that {RB}?",
    "Three, two, one, {VBG}!",
    "We {RB} {do} the {NNS} at the {place}.",
    "If {who} were {JJ}, the {NN} would be {VBG}.",
)
BANKS: dict[str, tuple[str, ...]] = {
    "ask": (
        "Turn on",
        "Turn off",
        "Switch on",
        "Switch off",
        "Dim",
        "Open",
        "Close",
        "Start",
        "Stop",
        "Lower",
        "Raise",
        "Lock",
        "Unlock",
        "Show me",
        "Find",
        "Could you check",
        "Can you move",
    ),
    "thing": (
        "the lights",
        "the fan",
        "the heating",
        "the blinds",
        "the door",
        "the window",
        "the television",
        "the radio",
        "the oven",
        "the kettle",
        "the vacuum cleaner",
        "the curtains",
        "the garage",
        "the camera",
        "the music",
        "the volume",
        "the temperature",
        "the washing machine",
    ),
    "room": (
        "kitchen",
        "bedroom",
        "living room",
        "bathroom",
        "hallway",
        "office",
        "basement",
        "garden",
        "attic",
        "dining room",
        "garage",
        "nursery",
    ),
    "place": (
        "airport",
        "station",
        "harbour",
        "library",
        "supermarket",
        "museum",
        "hospital",
        "school",
        "market",
        "park",
        "beach",
        "office",
        "church",
        "theatre",
        "playground",
        "town hall",
    ),
    "please": ("", "", "", ", please", " for me", ", would you", " now", " right away"),
    "a": ("a", "another", "the usual"),
    "alarm": ("alarm", "timer", "reminder", "meeting", "appointment"),
    "period": ("morning", "afternoon", "evening", "night"),
    "unit": ("minutes", "seconds", "hours", "days"),
    "when": (
        "today",
        "tomorrow",
        "tonight",
        "this weekend",
        "next week",
        "on Monday",
        "on Thursday",
        "at noon",
        "in an hour",
        "before dinner",
        "after school",
        "later",
        "in October",
        "again",
    ),
    "who": (
        "he",
        "she",
        "my brother",
        "my sister",
        "the teacher",
        "our neighbour",
        "the doctor",
        "grandma",
        "uncle Bob",
        "the driver",
        "somebody",
        "my boss",
    ),
    "family": ("mother", "father", "daughter", "son", "cousin", "aunt", "grandfather", "wife", "husband"),
    "do": (
        "buy",
        "bring",
        "wash",
        "clean",
        "paint",
        "carry",
        "visit",
        "finish",
        "repair",
        "remember",
        "write down",
        "look at",
        "talk about",
        "throw away",
        "pick up",
        "count",
    ),
    "music": ("jazz", "classical music", "rock", "old songs", "piano music", "dance music", "folk songs"),
    "food": (
        "coffee",
        "apples",
        "bread",
        "butter",
        "cheese",
        "tea",
        "orange juice",
        "pancakes",
        "rice",
        "soup",
        "chocolate",
        "eggs",
        "onions",
        "pizza",
        "salad",
        "sugar",
        "yoghurt",
        "fish",
    ),
    "number": (
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "twelve",
        "fifteen",
        "twenty",
        "thirty five",
        "forty",
        "sixty",
        "ninety nine",
        "a hundred",
        "two thousand",
    ),
}
_SLOT = re.compile(r"\{(\w+)\}")


def sentences(count: int, rng: np.random.Generator, *, avoid: Sequence[str] = ()) -> tuple[str, ...]:
    """`count` different English sentences that hold no word of `avoid`, not even inside another word.

    What is avoided changes the places where it would have been, and no others.
    """
    kinds = lexicon.by_kind()
    found: list[str] = [_sentence(number, kinds, rng) for number in range(count)]
    seen: set[str] = set()
    for place, text in enumerate(found):
        for attempt in range(1000):
            if text not in seen and not words.contains(text, avoid):
                break
            text = _sentence(place + attempt, kinds, rng)
        else:
            return tuple(found[:place])  # nearly every sentence holds such a word
        seen.add(text)
        found[place] = text
    return tuple(found)


def _sentence(number: int, kinds: Mapping[str, tuple[str, ...]], rng: np.random.Generator) -> str:
    text = _SLOT.sub(lambda slot: _draw(slot[1], kinds, rng), SENTENCES[number % len(SENTENCES)])
    return text[0].upper() + text[1:]


def _draw(slot: str, kinds: Mapping[str, tuple[str, ...]], rng: np.random.Generator) -> str:
    bank = BANKS[slot] if slot in BANKS else kinds[slot]
    return bank[int(rng.integers(len(bank)))]
