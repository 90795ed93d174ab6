import itertools
import math

import numpy as np
import pytest

from edgepress_apps.cameras import Frame
from edgepress_apps.classifier import label_frames
from edgepress_runtime.bundle import open_bundle
from edgepress_runtime.classify import Classifier
from edgepress_runtime.engine import open_engine


@pytest.fixture
def classifier(bright_bundle):
    bundle = open_bundle(bright_bundle)
    with open_engine(bundle.model_source, threads=1) as engine:
        yield Classifier(engine, bundle.manifest)


def frame(value: int, seq: int = 0) -> Frame:
    return Frame(np.full((8, 8, 1), value, np.uint8), 0.0, seq)


def bright(value: int) -> float:
    """The model worked out by hand: softmax of (-4 m, 4 m), m the normalised mean."""
    return 1 / (1 + math.exp(-8 * (value - 128) / 64))


def test_every_frame_gets_its_answers_best_first(classifier):
    answers = list(label_frames([frame(100, 3), frame(140, 5)], classifier, top=2))
    assert [a.frame.seq for a in answers] == [3, 5]
    assert [[s.label for s in a.scores] for a in answers] == [["dark", "bright"], ["bright", "dark"]]
    assert answers[0].scores[1].score == pytest.approx(bright(100), abs=1e-5)
    assert answers[1].scores[0].score == pytest.approx(bright(140), abs=1e-5)


def test_more_answers_than_labels_are_all_labels(classifier):
    (answer,) = label_frames([frame(10)], classifier, top=9)
    assert len(answer.scores) == 2


def test_the_latency_is_what_the_clock_says(classifier):
    ticks = itertools.count(0, 0.25)
    answers = label_frames([frame(0), frame(1)], classifier, clock=lambda: next(ticks))
    assert [a.latency_ms for a in answers] == [250.0, 250.0]


def test_it_takes_one_frame_at_a_time(classifier):
    taken = []

    def endless():
        for seq in itertools.count():
            taken.append(seq)
            yield frame(0, seq)

    answers = label_frames(endless(), classifier)
    next(answers)
    next(answers)
    assert taken == [0, 1]
