"""Noises: level, spectrum, variety and repeatability of each; folders of recordings; babble."""

from __future__ import annotations

import wave

import numpy as np
import pytest

from edgepress_runtime.errors import EdgepressError
from edgepress_train.data import noise

SECOND = 16000


@pytest.fixture(autouse=True, scope="module")
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEPRESS_CACHE", str(tmp_path_factory.mktemp("noise")))
        yield


def write(path, samples, rate_hz=SECOND):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(samples.astype("<i2").tobytes())


@pytest.mark.parametrize("kind", noise.NOISES)
def test_every_noise_has_one_level_and_is_its_seeds(kind):
    make = noise.NOISES[kind]
    one, same, other = (make(3 * SECOND, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.shape == (3 * SECOND,) and one.dtype == np.float32 and np.isfinite(one).all()
    assert np.sqrt(np.mean(np.square(one, dtype=np.float64))) == pytest.approx(1, abs=1e-4)
    assert np.array_equal(one, same) and not np.array_equal(one, other)


def test_coloured_noise_falls_with_frequency_and_white_does_not():
    def fall_db(make):
        falls = []
        for seed in range(30):
            power = np.square(np.abs(np.fft.rfft(make(SECOND, np.random.default_rng(seed)))))
            falls.append(10 * np.log10(power[200:400].mean() / power[3200:6400].mean()))
        return np.mean(falls)

    assert abs(fall_db(noise.white)) < 1
    assert 8 < fall_db(noise.coloured) < 28  # four octaves, 0 to 9 dB each


def test_hum_stands_on_the_mains():
    power = np.abs(np.fft.rfft(noise.hum(4 * SECOND, np.random.default_rng(3))))
    peak_hz = np.argmax(power[: 4 * 300]) / 4
    assert min(abs(peak_hz / k - mains) for mains in (50, 60) for k in range(1, 6)) < 1


def test_backgrounds_are_made_once_and_drawn_at_one_level(monkeypatch):
    kinds = noise.backgrounds(seed=3)
    assert {kind.split("#")[0] for kind in kinds.kinds} == set(noise.NOISES) and kinds.seconds > 300
    shares = [sum(kind.split("#")[0] == name for kind in kinds.kinds) for name in ("white", "coloured", "hum", "music")]
    assert shares == [4, 4, 1, 1]
    monkeypatch.setattr(noise, "NOISES", dict.fromkeys(noise.NOISES, None))  # from now on only the cache can give them
    again = noise.backgrounds(seed=3)
    for kind in kinds.kinds:
        drawn = [bank.draw(SECOND, np.random.default_rng(5), kind=kind) for bank in (kinds, again)]
        assert np.array_equal(*drawn) and np.sqrt(np.mean(np.square(drawn[0]))) == pytest.approx(1, abs=1e-3)
    rng = np.random.default_rng(0)
    assert not np.array_equal(kinds.draw(SECOND, rng), kinds.draw(SECOND, rng))


def test_babble_is_several_voices_at_once():
    voices = [np.sin(np.arange(4000) * hz).astype(np.float32) for hz in (0.1, 0.2, 0.4)]
    mixed = noise.babble(SECOND, np.random.default_rng(0), voices)
    spectrum = np.abs(np.fft.rfft(mixed))
    peaks = [spectrum[round(hz / (2 * np.pi) * SECOND) + np.arange(-9, 10)].max() for hz in (0.1, 0.2, 0.4)]
    assert min(peaks) > 20 * np.median(spectrum)
    assert "babble" in noise.backgrounds(speech=voices).kinds


def test_a_folder_of_recordings_is_heard_three_times_as_often(tmp_path):
    music = 3000 * np.sin(np.arange(2 * SECOND) * 0.2)
    write(tmp_path / "bg" / "deep" / "music.wav", music)
    write(tmp_path / "bg" / "slow.wav", music[:SECOND], rate_hz=8000)
    write(tmp_path / "bg" / "silence.wav", np.zeros(SECOND))
    (tmp_path / "bg" / "notes.txt").write_text("no sound", encoding="utf-8")
    found = noise.read_folder(tmp_path / "bg")
    assert sorted(len(stretch) for stretch in found) == [2 * SECOND, 2 * SECOND]
    kinds = noise.backgrounds(folders=[tmp_path / "bg"])
    assert len(kinds.kinds) == len(noise.backgrounds().kinds) + 3
    assert kinds.draw(5 * SECOND, np.random.default_rng(0), kind=kinds.kinds[-1]).shape == (5 * SECOND,)


def test_a_folder_without_sound_is_told(tmp_path):
    (tmp_path / "bg").mkdir()
    with pytest.raises(EdgepressError, match="holds no recording with sound in it"):
        noise.backgrounds(folders=[tmp_path / "bg"])
