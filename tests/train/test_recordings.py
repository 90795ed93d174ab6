from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from edgepress_train.data import recordings
from edgepress_train.data.dataset import DataError, Holdout


def write_wav(path: Path, seconds: float = 0.3, *, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).normal(0, 500, round(16_000 * seconds)).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(samples.tobytes())
    return path


@pytest.fixture(scope="module")
def commands(tmp_path_factory) -> Path:
    """Speech Commands in small: its folders, lists, noises, speakers in the file names."""
    root = tmp_path_factory.mktemp("speech_commands")
    words = (*recordings.COMMANDS, "bed", "cat", "marvin", "visual")
    for word in words:
        for speaker in range(12):
            for take in range(2):
                write_wav(root / word / f"{speaker:08x}_nohash_{take}.wav", 0.1)
    for part, speakers in (("validation", (10,)), ("testing", (11,))):
        names = [f"{word}/{speaker:08x}_nohash_{take}.wav" for word in words for speaker in speakers for take in (0, 1)]
        (root / f"{part}_list.txt").write_text("\n".join(names) + "\n")
    for noise in ("doing_the_dishes", "white_noise"):
        write_wav(root / "_background_noise_" / f"{noise}.wav", 2.0)
    (root / "README.md").write_text("x")
    return root


def test_speech_commands_is_the_task_of_twelve_classes(commands):
    dataset = recordings.open_recordings(str(commands))
    assert dataset.labels == (*recordings.COMMANDS, "silence", "unknown")
    for part, each in (("train", 20), ("val", 2), ("test", 2)):
        counts = np.bincount(dataset.splits[part].labels, minlength=12)
        assert counts.tolist() == [each] * 10 + [0, each], part  # as many unknown as of one word
    names = {path.parent.name for path in dataset.splits["test"].paths} - set(recordings.COMMANDS)
    assert names <= {"bed", "cat", "marvin", "visual"}
    assert [path.name for path in recordings.noises(str(commands))] == ["doing_the_dishes.wav", "white_noise.wav"]


def test_its_own_lists_keep_speakers_apart(commands):
    parts = recordings.open_recordings(str(commands)).splits
    speakers = {part: {path.name.split("_")[0] for path in split.paths} for part, split in parts.items()}
    assert speakers["val"] == {"0000000a"} and speakers["test"] == {"0000000b"}
    assert not speakers["train"] & (speakers["val"] | speakers["test"])


@pytest.fixture
def digits(tmp_path) -> Path:
    for number, speaker in enumerate(("ann", "bob", "cid", "dan", "eve", "fay")):
        for word in ("one", "two"):
            for take in range(5):
                write_wav(tmp_path / "digits" / word / f"{speaker}_{take}.wav", 0.1, seed=number)
    return tmp_path / "digits"


def test_no_speaker_is_in_two_parts(digits):
    holdout = Holdout(0, val_fraction=0.25, test_fraction=0.34)
    dataset = recordings.open_recordings(str(digits), holdout=holdout, speaker="(.+)_[0-9]+")
    speakers = [{path.name.split("_")[0] for path in dataset.splits[part].paths} for part in ("train", "val", "test")]
    assert [len(found) for found in speakers] == [3, 1, 2] and len(set.union(*speakers)) == 6
    assert dataset.holdout == holdout


def test_parts_that_the_data_brings_are_kept(digits, tmp_path):
    for part in ("train", "test"):
        for word in ("one", "two"):
            for path in sorted((digits / word).glob("*.wav")):
                if path.name.startswith("fay") == (part == "test"):
                    target = tmp_path / "parted" / part / word / path.name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    path.rename(target)
    parted = recordings.open_recordings(str(tmp_path / "parted"), speaker="(.+)_[0-9]+")
    assert {path.name.split("_")[0] for path in parted.splits["test"].paths} == {"fay"}
    assert len({path.name.split("_")[0] for path in parted.splits["train"].paths}) >= 4


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("(", "--speaker '(' is no regular expression: missing ), unterminated subpattern at position 0"),
        ("[a-z]+", "--speaker '[a-z]+' has no group"),
        ("(x+)_", "--speaker '(x+)_' finds nothing in ann_0.wav"),
    ],
)
def test_a_wrong_pattern_is_answered(digits, pattern, sentence):
    with pytest.raises(DataError) as caught:
        recordings.open_recordings(str(digits), speaker=pattern)
    assert caught.value.what == sentence


def test_what_is_no_data_is_answered(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEPRESS_CACHE", str(tmp_path / "cache"))
    for source, sentence in (
        ("", "there is no folder or zip ''"),
        (str(tmp_path / "nowhere"), f"there is no folder or zip '{tmp_path / 'nowhere'}'"),
        ("speech-commands", f"Speech Commands is not in {tmp_path / 'cache' / 'speech-commands'}"),
    ):
        with pytest.raises(DataError) as caught:
            recordings.open_recordings(source)
        assert caught.value.what == sentence
    write_wav(tmp_path / "alone" / "word" / "a.wav")
    with pytest.raises(DataError, match="has only the class 'word'"):
        recordings.open_recordings(str(tmp_path / "alone"), holdout=Holdout(0, 0.0, 0.0))
    (tmp_path / "pictures" / "cat").mkdir(parents=True)
    (tmp_path / "pictures" / "cat" / "a.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match="has no recordings to train on"):
        recordings.open_recordings(str(tmp_path / "pictures"))
