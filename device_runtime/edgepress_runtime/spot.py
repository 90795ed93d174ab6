"""Sound in, detections out: the call that an app makes for every block of samples from a microphone.

A step of a small model takes 6 microseconds, so what surrounds it counts: features are quantized a block at a time, and
the states go from the outputs back to the inputs by the interpreter's own get and set. That takes 0.9 microseconds a
state; views of the two tensors take 1.9, and views that were kept would stop the interpreter from running.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edgepress_runtime import states
from edgepress_runtime.detect import Detection, Detector
from edgepress_runtime.engine import Engine
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.features import FrontEnd
from edgepress_runtime.manifest import DetectionSpec, Manifest, SpeechSpec
from edgepress_runtime.tensors import reading, storing

if TYPE_CHECKING:
    from edgepress_runtime.head import Head

THREADS = 1  # of the engine: two took twice the processor time of one, four took 2.4 times as much
_BLOCK_S = 10  # of a long recording at a time, so that its features need not lie in memory all at once


class Spotter:
    """Spots with `engine`, whose tensors it owns from now on, as `manifest` says; refuses one of another model.

    `labels` name the columns of scores. A step of `step_ms` consumes `step_samples` at `rate_hz` and gives one row.
    With `head` the scores are what it makes of the model's embedding, for the labels of a taught manifest.
    The model's window is `window_s` long; `window_frames` in frames; the first row that has seen a whole one is number
    `first_row`. What comes out does not depend on how the sound was cut into blocks, to the bit.
    """

    def __init__(self, engine: Engine, manifest: Manifest, head: Head | None = None) -> None:
        spec, detection = speech_of(engine, manifest, head)
        self._states = states.initial(engine.inputs, engine.outputs)
        if not self._states:
            raise EdgepressError(
                f"{manifest.name} is not a streaming model: it takes its whole window at once",
                "make the bundle again with edgepress convert, which makes a streaming one",
            )
        source = engine.inputs[0]
        step_frames = source.shape[1]
        self.labels = manifest.labels
        self.rate_hz = spec.rate_hz
        self.hop = spec.hop
        self.step_samples = step_frames * spec.hop
        self.step_ms = self.step_samples * 1e3 / spec.rate_hz
        self.window_frames = detection.window_frames
        self.window_samples = (detection.window_frames - 1) * spec.hop + spec.window
        self.window_s = self.window_samples / spec.rate_hz
        self.first_row = math.ceil(detection.window_frames / step_frames) - 1
        self._tail_s = (spec.window - spec.hop) / spec.rate_hz  # of a step's last frame, beyond its hops
        # Steps of silence after which the window is full, with those that the front end holds back.
        self._lead_steps = self.first_row + 1 + math.ceil(spec.window / self.step_samples)
        self._front_end = FrontEnd(spec)
        self._detector = Detector(
            manifest.labels, manifest.thresholds, detection, self.step_ms, window_ms=self.window_s * 1e3
        )
        self._engine = engine
        self._put, self._get = engine.interpreter.set_tensor, engine.interpreter.get_tensor
        self._store, self._real = storing(source), reading(engine.outputs[0])
        self._head, self._teaching = head, manifest.teaching
        if manifest.teaching is not None:
            self._embedding = reading(engine.outputs[manifest.teaching.output])
        self._step_frames, self._features, self._chunk_shape = step_frames, spec.features, source.shape
        self._carry = tuple(zip(engine.input_indices[1:], engine.output_indices[1:]))
        self.reset()

    def reset(self) -> None:
        """A new stream begins: every state holds zero, and the clock is at 0."""
        self._front_end.reset()
        self._detector.reset()
        for index, state in zip(self._engine.input_indices[1:], self._states):
            self._put(index, state)
        self._rest = np.empty((0, self._features), np.float32)
        self._rows = 0
        self._samples = 0
        self._begin_s = 0.0

    def begin(self, at_s: float = 0.0) -> None:
        """A new stream begins at `at_s` of the clock, after silence as long as the window.

        So the first word is heard as well as any other, and nothing fires on a window that is half empty.
        """
        self.reset()
        silence = np.zeros(self._lead_steps * self.step_samples, np.int16)
        self.scores(silence)
        self._begin_s = at_s - len(silence) / self.rate_hz

    @property
    def seconds(self) -> float:
        """The clock: seconds of sound since the beginning of the stream."""
        return self._begin_s + self._samples / self.rate_hz

    def skip(self, seconds: float) -> None:
        """Sound as long as that was lost: the clock goes on without it."""
        self._begin_s += seconds

    def push(self, samples: np.ndarray) -> list[Detection]:
        """(n,) int16 at `rate_hz`, any n; what was detected in them. Nothing is before the window has been filled."""
        rows = self.scores(samples).tolist()
        found = []
        step = self._rows - len(rows)
        for row in rows:
            step += 1
            if step > self.first_row:
                detection = self._detector.push(row, self._begin_s + step * self.step_ms / 1e3 + self._tail_s)
                if detection is not None:
                    found.append(detection)
        return found

    def whole(self, samples: np.ndarray) -> list[Detection]:
        """What is detected in a whole recording, (n,) int16 at `rate_hz`, with a window of silence before and after."""
        self.begin()
        found = []
        block = _BLOCK_S * self.rate_hz
        for begin in range(0, len(samples), block):
            found += self.push(samples[begin : begin + block])
        return found + self.push(np.zeros(self.window_samples, np.int16))

    def scores(self, samples: np.ndarray) -> np.ndarray:
        """(n,) int16 at `rate_hz`; the scores of the steps that they complete: (steps, labels) float32.

        Rows before `first_row` come from windows that begin before the stream does, and mean little. Raises
        EdgepressError for other samples, for a model that fails or answers with something that is no number.
        """
        frames = self._front_end.push(samples)
        self._samples += len(samples)
        return self.scores_of(frames)

    def embeddings(self, samples: np.ndarray) -> np.ndarray:
        """(n,) int16 as for `scores`; the embeddings of the steps that they complete: (steps, d) float32.

        For models with a teaching spec.
        """
        assert self._teaching is not None
        frames = self._front_end.push(samples)
        self._samples += len(samples)
        chunks, number = self._chunks(frames), self._teaching.output
        if not len(chunks):
            return np.empty((0, self._teaching.size), np.float32)
        return self._embedding_of(self._run(chunks, number))

    def scores_of(self, frames: np.ndarray) -> np.ndarray:
        """The scores of the steps that (n, features) float32 complete, as `scores`; for those who have features."""
        chunks = self._chunks(frames)
        if not len(chunks):
            return np.empty((0, len(self.labels)), np.float32)
        if self._head is not None and self._teaching is not None:
            return self._head.scores(self._embedding_of(self._run(chunks, self._teaching.output)))
        return self._real(self._run(chunks))

    def _chunks(self, frames: np.ndarray) -> np.ndarray:
        """The stored inputs (steps, 1, c, features, 1) that (n, features) float32 complete; the rest waits for more."""
        if len(self._rest):
            frames = np.concatenate((self._rest, frames))
        steps, rest = divmod(len(frames), self._step_frames)
        self._rest = frames[len(frames) - rest :]
        self._rows += steps
        return self._store(frames[:-rest] if rest else frames).reshape(steps, *self._chunk_shape)

    def _embedding_of(self, stored: np.ndarray) -> np.ndarray:
        assert self._teaching is not None
        return self._embedding(stored).reshape(-1, self._teaching.size)

    def _run(self, chunks: np.ndarray, output: int = 0) -> np.ndarray:
        """Stored inputs (steps, 1, c, features, 1) through the model, one after the other: what `output` stores."""
        put, get, carry, invoke = self._put, self._get, self._carry, self._engine.invoke
        source, target = self._engine.input_indices[0], self._engine.output_indices[output]
        rows = []
        try:
            for chunk in chunks:
                put(source, chunk)
                invoke()
                for taken, given in carry:
                    put(taken, get(given))
                rows.append(get(target))
        except (RuntimeError, ValueError) as error:
            raise EdgepressError(f"the model failed to run: {' '.join(str(error).split())}") from None
        return rows[0] if len(rows) == 1 else np.concatenate(rows)


def speech_of(engine: Engine, manifest: Manifest, head: Head | None = None) -> tuple[SpeechSpec, DetectionSpec]:
    """What a keyword model's manifest says of sound and detection. Raises EdgepressError unless it fits the engine."""
    spec, detection = manifest.preprocessing, manifest.detection
    if manifest.task != "keyword-spotting" or not isinstance(spec, SpeechSpec) or detection is None:
        raise EdgepressError(f"{manifest.name} is a model for {manifest.task}, not for keyword-spotting")
    engine.expect(manifest.inputs, manifest.outputs)
    shape = engine.inputs[0].shape
    answer = engine.outputs[0].shape if head is None else (1, len(head.bias))
    if len(shape) != 4 or shape != (1, shape[1], spec.features, 1):
        raise EdgepressError(
            f"the manifest prepares frames of {spec.features} features, the model takes {list(shape)}",
            "make the bundle again with edgepress convert",
        )
    if answer != (1, len(manifest.labels)):
        raise EdgepressError(f"the model gives {list(answer)}, but the manifest has {len(manifest.labels)} labels")
    frames, streams = detection.window_frames, len(engine.inputs) > 1
    if frames < shape[1] or (frames > shape[1] and not streams):
        raise EdgepressError(f"the manifest has a window of {frames} frames, the model takes {shape[1]} at once")
    return spec, detection
