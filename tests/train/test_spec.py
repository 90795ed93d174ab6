from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress_runtime.errors import EdgepressError
from edgepress_train import spec
from edgepress_train.spec import Step, bind, parse


def prune(
    model, job, *, ratio: float = 0.5, criterion: str = "taylor", widths: tuple[int, ...] = (1,), on: bool = True
):
    """A function of the shape that steps name."""


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("", ()),
        ("none", ()),
        ("flip-h", (Step("flip-h"),)),
        ("shift:0.1, rotate:15", (Step("shift", 0.1), Step("rotate", 15))),
        ("resnet:widths=16-24-36:blocks=2", (Step("resnet", None, {"widths": (16, 24, 36), "blocks": 2}),)),
        ("prune:0.5:criterion=l1:on=false", (Step("prune", 0.5, {"criterion": "l1", "on": False}),)),
        ("shift:-0.1", (Step("shift", -0.1),)),
        ("fill:nearest", (Step("fill", "nearest"),)),
    ],
)
def test_parse(text, steps):
    assert parse(text) == steps


words = st.from_regex(r"[a-z][a-z0-9]{0,6}", fullmatch=True).filter(
    lambda w: w not in ("none", "true", "false", "nan", "inf", "infinity")
)
literals = st.one_of(st.integers(-99, 99), st.floats(-9, 9, allow_nan=False), st.booleans(), words)


@given(st.lists(st.builds(Step, words, st.none() | literals, st.dictionaries(words, literals, max_size=2)), min_size=1))
def test_what_is_written_is_read_back(steps):
    assert parse(", ".join(str(step) for step in steps)) == tuple(steps)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("flip-h,,rotate", "step 2 of 'flip-h,,rotate' is empty"),
        ("rotate:", "step 1 of 'rotate:' is empty"),
        ("rotate:1:2", "step 1 ('rotate:1:2') has two values"),
    ],
)
def test_a_malformed_step_is_named(text, sentence):
    with pytest.raises(EdgepressError) as caught:
        parse(text)
    assert caught.value.what == sentence


@pytest.mark.parametrize(
    ("step", "options"),
    [
        ("prune:0.25", {"ratio": 0.25}),
        ("prune:1", {"ratio": 1.0}),
        ("prune:criterion=l1", {"criterion": "l1"}),
        ("prune:widths=8-16", {"widths": (8, 16)}),
        ("prune:widths=8", {"widths": (8,)}),
    ],
)
def test_bind_follows_the_signature(step, options):
    assert bind(parse(step)[0], prune, kind="pass") == options


@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        ("prune:ratios=0.5", "pass 'prune' has no option 'ratios'; did you mean 'ratio'?"),
        ("prune:half", "pass 'prune': ratio should look like 0.5, not half"),
        ("prune:0.5:ratio=0.6", "pass 'prune' is given ratio twice"),
        ("prune:on=3", "pass 'prune': on should look like true, not 3"),
    ],
)
def test_bind_says_what_is_wrong(step, sentence):
    with pytest.raises(EdgepressError) as caught:
        bind(parse(step)[0], prune, kind="pass")
    assert caught.value.what == sentence


def test_a_near_name_is_suggested():
    with pytest.raises(EdgepressError) as caught:
        spec.choose(Step("prune-channel"), {"prune-channels": 1, "qat": 2}, kind="pass")
    assert caught.value.what == "unknown pass 'prune-channel'; did you mean 'prune-channels'?"
