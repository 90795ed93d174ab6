"""One thing to be said, and how: what a plan is a list of."""

from __future__ import annotations

from dataclasses import dataclass

from edgepress_train.data.tts.voice import NEUTRAL, Manner, Voice

# What an utterance is for; every kind but the first is a negative
KINDS = ("word", "alike", "miss", "piece", "other", "sentence", "talk")


@dataclass(frozen=True)
class Utterance:
    """`before`, then `text`, then `after`, in a voice and a manner.

    `text` is what a clip is about, the rest its context (`after` is mostly punctuation, which carries the intonation).
    `phonemes`, where given, are how `text` is to sound, in Kokoro's alphabet. `label` is the word a positive teaches,
    else "". `split` is `train` or `val`.
    """

    text: str
    voice: Voice
    manner: Manner = NEUTRAL
    phonemes: str = ""
    before: str = ""
    after: str = "."
    label: str = ""
    kind: str = "word"
    split: str = "train"

    @property
    def said(self) -> str:
        """The whole text."""
        return (f"{self.before.strip()} {self.text}" if self.before.strip() else self.text) + self.after
