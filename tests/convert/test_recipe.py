"""Recipes: two ways to write them down, and every mistake told with the step that it is in."""

from __future__ import annotations

import pytest

from edgepress_convert.compress import PASSES, recipe
from edgepress_convert.compress.listing import listing
from edgepress_runtime.errors import EdgepressError
from edgepress_train.spec import Step


def test_a_line_and_a_file_say_the_same(tmp_path):
    file = tmp_path / "small.toml"
    file.write_text(
        '[[step]]\nname = "prune-channels"\nratio = 0.5\ncriterion = "l1"\n[[step]]\nname = "qat"\nepochs = 3\n'
    )
    line = recipe.bind(recipe.read("prune-channels:0.5:criterion=l1, qat:epochs=3"))
    from_file = recipe.bind(recipe.read(str(file)))
    assert [(b.function, b.options) for b in line] == [(b.function, b.options) for b in from_file]
    assert line[0].options == {"ratio": 0.5, "criterion": "l1"}


def test_what_is_written_is_read_back():
    steps = (Step("prune-channels", 0.5, {"epochs": 2}), Step("equalize"), Step("qat", 3))
    assert recipe.read(recipe.write(steps)) == steps


@pytest.mark.parametrize("name", sorted(PASSES))
def test_every_pass_can_be_bound_by_its_name_alone(name):
    (bound,) = recipe.bind(recipe.read(name))
    assert callable(bound.function)
    assert bound.function.__doc__


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "the recipe has no steps"),
        ("qaat", "unknown pass 'qaat'; did you mean 'qat'?"),
        ("qat,prune-channel:0.5", "step 2: unknown pass 'prune-channel'; did you mean 'prune-channels'?"),
        ("prune-channels:half", "pass 'prune-channels': ratio should look like 0.5, not half"),
        ("finetune:epoch=3", "pass 'finetune' has no option 'epoch'; did you mean 'epochs'?"),
        ("gone.toml", "the recipe gone.toml does not exist"),
    ],
)
def test_mistakes_in_a_line(text, sentence):
    with pytest.raises(EdgepressError) as caught:
        recipe.bind(recipe.read(text))
    assert caught.value.what == sentence


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("step = 1", "has no [[step]] tables"),
        ("[[step]]\nratio = 0.5\n", "step 1 of {} has no name"),
        ('lr = 1\n[[step]]\nname = "qat"\n', "has 'lr' beside its steps"),
        ("[[step]", "is no TOML: "),
        ("", "has no [[step]] tables"),
    ],
)
def test_mistakes_in_a_file(text, sentence, tmp_path):
    file = tmp_path / "r.toml"
    file.write_text(text)
    with pytest.raises(EdgepressError) as caught:
        recipe.bind(recipe.read(str(file)))
    assert sentence.format(file) in caught.value.what


def test_the_list_shows_every_pass_with_its_shorthand_first():
    shown = {name: keywords for name, _, keywords in listing()}
    assert set(shown) == set(PASSES)
    assert shown["prune-channels"][0].startswith("ratio=")
