"""eSpeak NG (GPL-3, optional): a formant synthesizer that speaks a hundred languages, clearly and like a robot."""

from __future__ import annotations

import numpy as np

from edgepress_train.data.tts import espeak_library
from edgepress_train.data.tts.voice import NEUTRAL, Manner, Speech, Voice

WORDS_A_MINUTE = 165
# Variants whose "computer" Whisper tiny.en understood in each of four accents; what is meant as a joke is left out
CLEAN = (
    "adam",
    "Alex",
    "Andrea",
    "anika",
    "Annie",
    "belinda",
    "benjamin",
    "boris",
    "Denis",
    "Diogo",
    "edward2",
    "f2",
    "f3",
    "f5",
    "Gene",
    "grandpa",
    "gustave",
    "Henrique",
    "Hugo",
    "iven4",
    "Jacky",
    "john",
    "klatt6",
    "linda",
    "m1",
    "m4",
    "m5",
    "m6",
    "m8",
    "marcelo",
    "max",
    "Michael",
    "michel",
    "miguel",
    "Mike",
    "Nguyen",
    "pablo",
    "paul",
    "pedro",
    "quincy",
    "Reed",
    "rob",
    "robert",
    "sandro",
    "shelby",
    "steph",
    "steph2",
    "steph3",
    "travis",
    "victor",
    "zac",
)
# eSpeak's names of accents; its "en" is British
ENGLISH = {
    "en-us": "en-us",
    "en": "en-gb",
    "en-gb-x-rp": "en-gb",
    "en-gb-scotland": "en-gb",
    "en-029": "en-029",
    "en-us-nyc": "en-us",
}


class Espeak:
    """The engine. Any `language` or `language+variant` that eSpeak knows may be named as a voice."""

    name = "espeak"
    alphabet = "espeak"

    def __init__(self) -> None:
        self._library = espeak_library.load()
        self.version = self._library.version

    def voices(self) -> tuple[Voice, ...]:
        """The clean English ones; a variant is one speaker in all accents."""
        return tuple(
            Voice(self.name, f"{accent}+{variant}", language, False, variant)
            for variant in CLEAN
            for accent, language in ENGLISH.items()
        )

    def say(self, text: str, voice: str, manner: Manner = NEUTRAL, *, phonemes: str = "") -> Speech:
        """Speech; `phonemes` are eSpeak's mnemonics."""
        library = self._library
        library.choose(voice)
        library.set(espeak_library.RATE, round(WORDS_A_MINUTE * manner.speed / manner.tone))
        library.set(espeak_library.PITCH, round(min(max(50 + 60 * np.log2(manner.pitch / manner.tone), 0), 99)))
        library.set(espeak_library.RANGE, round(min(50 * manner.liveliness, 99)))
        samples = library.say(f"[[{phonemes}]]" if phonemes else text)
        return Speech(samples.astype(np.float32) / 32768, round(library.rate_hz * manner.tone))
