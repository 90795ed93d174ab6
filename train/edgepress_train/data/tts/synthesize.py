"""A plan spoken: in several processes, each clip kept in the cache as soon as it is there."""

from __future__ import annotations

import functools
import multiprocessing
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from edgepress_train.data.tts import clips, engines, phonemes, trim
from edgepress_train.data.tts.clips import Clip, Dropped
from edgepress_train.data.tts.utterance import Utterance
from edgepress_train.data.tts.voice import Engine, EngineMissing, SpeechError
from edgepress_train.progress import Progress, silent

_BATCH = 12  # utterances a task: some seconds of work
_FAILING = 0.5  # more than this share of an engine's clips dropped is a fault of the engine


@dataclass(frozen=True)
class Spoken:
    """The clips of a plan in its order, without those that were dropped."""

    clips: tuple[Clip, ...]
    dropped: tuple[Dropped, ...]

    def of(self, *, split: str = "", label: str | None = None, kind: str = "") -> tuple[Clip, ...]:
        """The clips of a split, of a label ("" for negatives) and of a kind, each where it is given."""
        return tuple(
            clip
            for clip in self.clips
            if (not split or clip.split == split)
            and (label is None or clip.label == label)
            and (not kind or clip.utterance.kind == kind)
        )


def synthesize(plan: Sequence[Utterance], *, workers: int | None = None, progress: Progress = silent) -> Spoken:
    """Speak every utterance of `plan` that is not in the cache yet, in `workers` processes (default: one a core).

    An interrupted call goes on where it was. One worker speaks in this process. Raises SpeechError when an engine
    fails or most of its clips are unusable.
    """
    clips.check_codec()
    versions = {name: engines.start(name).version for name in sorted({u.voice.engine for u in plan})}
    paths = [clips.path_of(clips.key(utterance, versions[utterance.voice.engine])) for utterance in plan]
    found = [clips.read(path, utterance) for path, utterance in zip(paths, plan, strict=True)]
    todo = {path: utterance for path, utterance, clip in zip(paths, plan, found, strict=True) if clip is None}
    done = len(plan) - len(todo)
    for said, engine in _speak_all(todo, workers or os.cpu_count() or 1):
        done = min(len(plan), done + said)
        progress("speak", done, len(plan), engine)
    results = [clip or clips.read(path, u) for clip, path, u in zip(found, paths, plan, strict=True)]
    whole = tuple(clip for clip in results if isinstance(clip, Clip))
    dropped = tuple(clip for clip in results if isinstance(clip, Dropped))
    _check(plan, dropped)
    return Spoken(whole, dropped)


def _check(plan: Sequence[Utterance], dropped: Sequence[Dropped]) -> None:
    asked = Counter(utterance.voice.engine for utterance in plan)
    for engine, count in Counter(drop.utterance.voice.engine for drop in dropped).items():
        if count > _FAILING * asked[engine] and count > 3:
            reason = Counter(d.reason for d in dropped if d.utterance.voice.engine == engine).most_common(1)[0][0]
            raise SpeechError(f"{count} of {asked[engine]} clips of the engine {engine!r} are unusable: {reason}")


def _speak_all(todo: dict[Path, Utterance], workers: int) -> Iterator[tuple[int, str]]:
    """How many were said by which engine, whenever some were."""
    batches = list(_batches(todo))
    if workers <= 1 or len(batches) <= 1:
        for batch in batches:
            for path, utterance in batch:
                yield _speak_batch([(path, utterance)])
        return
    # TensorFlow may run in this process, and does not survive a fork
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(batches)), mp_context=context) as pool:
        waiting = [pool.submit(_speak_batch, batch) for batch in batches]
        try:
            for future in as_completed(waiting):
                yield future.result()
        except BrokenProcessPool:
            raise SpeechError(
                "a process that spoke was ended from outside, or by its engine",
                "run it again: what has been spoken is kept; with less memory, fewer workers",
            ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _batches(todo: dict[Path, Utterance]) -> Iterator[list[tuple[Path, Utterance]]]:
    """Tasks of one engine each, the slow engine first, so that the end is not waited for."""
    order = list(engines.ENGINES)
    for engine in sorted({u.voice.engine for u in todo.values()}, key=order.index):
        own = [(path, utterance) for path, utterance in todo.items() if utterance.voice.engine == engine]
        own.sort(key=lambda item: -len(item[1].said))
        size = _BATCH if engine == "kokoro" else 8 * _BATCH
        for first in range(0, len(own), size):
            yield own[first : first + size]


def _speak_batch(batch: Iterable[tuple[Path, Utterance]]) -> tuple[int, str]:
    said, name = 0, ""
    for path, utterance in batch:
        name = utterance.voice.engine
        clips.write(path, speak(_engine(name), utterance), utterance)
        said += 1
    return said, name


@functools.lru_cache(8)
def _engine(name: str) -> Engine:
    """The engine of this process: starting one takes up to a second."""
    return engines.start(name)


def speak(engine: Engine, utterance: Utterance) -> trim.Trimmed | str:
    """One utterance as a clip, or why it is dropped. Raises EngineMissing when the engine cannot work at all."""
    try:
        return _speak(engine, utterance)
    except EngineMissing:
        raise
    except SpeechError as error:
        return error.what


def _speak(engine: Engine, utterance: Utterance) -> trim.Trimmed | str:
    voice, manner = utterance.voice, utterance.manner
    if engine.alphabet == "kokoro" and (utterance.phonemes or engine.name == "kokoro"):
        sounds, first, count = _sounds(utterance)
        speech = engine.say(utterance.said, voice.name, manner, phonemes=sounds)
        spans = speech.spans[first : first + count]
        if speech.spans and len(spans) < count:
            return "the word is not where it should be"
        span = (spans[0][0], spans[-1][1]) if spans else None
        total = len(phonemes.bare(sounds).replace(" ", ""))
    else:
        speech = engine.say(utterance.said, voice.name, manner)
        span = None
        total = max(2, round(0.8 * sum(letter.isalpha() for letter in utterance.said)))
    return trim.finish(speech.samples, speech.rate_hz, sounds=total, speed=manner.speed, span=span)


def _sounds(utterance: Utterance) -> tuple[str, int, int]:
    """The sounds of all that is said, and which of its words are the text's: the first, and how many."""
    language = utterance.voice.language if utterance.voice.language.startswith("en") else "en-us"
    text = utterance.phonemes or phonemes.kokoro(utterance.text, language)
    before = phonemes.kokoro(utterance.before, language) if utterance.before else ""
    after = utterance.after
    if any(letter.isalpha() for letter in after):
        head = after[: len(after) - len(after.lstrip(" ,.!?"))]
        after = (head if head.endswith(" ") else head + " ") + phonemes.kokoro(after.lstrip(" ,.!?"), language)
    whole = f"{before} {text}{after}" if before else text + after
    return whole, len(_groups(before)), len(_groups(text))


def _groups(sounds: str) -> list[str]:
    """The words in `sounds`, as an engine counts them."""
    return "".join(sound if sound.isalpha() or sound in "ˈˌː" else " " for sound in sounds).split()
