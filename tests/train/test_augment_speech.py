"""Augmentation of speech: each step against what it should do to tones and clicks; the line; marks that go along."""

from __future__ import annotations

import numpy as np
import pytest

from edgepress_runtime.errors import EdgepressError
from edgepress_train.data import augment_speech
from edgepress_train.data.augment_speech import SCENE, VOICE, Bank, Sound, rooms, scene, voice
from edgepress_train.data.noise import Backgrounds

RATE_HZ = 16000


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEPRESS_CACHE", str(tmp_path / "cache"))


def tone(hz: float, n: int = RATE_HZ, level: float = 0.2) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hz * np.arange(n) / RATE_HZ)).astype(np.float32)


def sound(samples: np.ndarray | None = None) -> Sound:
    samples = tone(300) if samples is None else samples
    return Sound(samples, len(samples) // 4, 3 * len(samples) // 4)


def pulses(hz: float, formant_hz: float, n: int = RATE_HZ) -> np.ndarray:
    """A buzz of `hz` through one resonance: a vowel of sorts."""
    buzz = np.zeros(n, np.float32)
    buzz[:: round(RATE_HZ / hz)] = 1
    t = np.arange(800) / RATE_HZ
    return (0.1 * np.convolve(buzz, np.exp(-t * 600) * np.sin(2 * np.pi * formant_hz * t))[:n]).astype(np.float32)


def band(samples: np.ndarray, low_hz: float, high_hz: float) -> float:
    power = np.square(np.abs(np.fft.rfft(samples)))
    hz = np.fft.rfftfreq(len(samples), 1 / RATE_HZ)
    return float(power[(hz >= low_hz) & (hz < high_hz)].sum())


def peak_hz(samples: np.ndarray) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(samples * np.hanning(len(samples))))) * RATE_HZ / len(samples))


def bank() -> Bank:
    room = np.zeros((1, 4000), np.float32)
    room[0, 8], room[0, 1608] = 0.8, 0.6  # an echo after 100 ms
    hiss = np.random.default_rng(9).normal(0, 3000, 5 * RATE_HZ).astype(np.int16)
    return Bank(room, Backgrounds({"hiss": (hiss,)}), talk=((10000 * tone(1500)).astype(np.int16),))


def test_speed_moves_pitch_and_marks_together():
    for seed in range(5):
        made = voice.speed(sound(), np.random.default_rng(seed), fraction=0.2)
        factor = RATE_HZ / len(made.samples)
        assert 1 / 1.21 < factor < 1.21 and peak_hz(made.samples) == pytest.approx(300 * factor, rel=0.01)
        assert made.begin == pytest.approx(4000 / factor, abs=1) and made.end == pytest.approx(12000 / factor, abs=1)


def test_tempo_keeps_the_pitch_and_carries_the_marks():
    lengths = set()
    for seed in range(5):
        made = voice.tempo(sound(), np.random.default_rng(seed), fraction=0.25)
        lengths.add(len(made.samples))
        assert peak_hz(made.samples) == pytest.approx(300, abs=3) and made.level == pytest.approx(
            sound().level, rel=0.1
        )
    assert len(lengths) == 5 and min(lengths) > RATE_HZ / 1.26 and max(lengths) < RATE_HZ * 1.26
    clicks = np.zeros(RATE_HZ, np.float32)
    burst = np.random.default_rng(1).normal(0, 0.1, 160).astype(np.float32)
    clicks[4000:4160] = clicks[12000:12160] = burst
    for seed in range(5):
        made = voice.tempo(Sound(clicks, 4000, 12000), np.random.default_rng(seed), fraction=0.25)
        heard = np.flatnonzero(np.abs(made.samples) > 0.05)
        assert abs(heard[0] - made.begin) < 200 and abs(heard[-1] - 160 - made.end) < 200


def test_formants_move_and_the_pitch_does_not():
    vowel = pulses(125, 1000)
    before = voice._analyse(vowel)
    assert np.abs(voice._synthesise(before)[600:15000] - vowel[600:15000]).max() < 1e-5
    harmonics = np.arange(125, 125 * 32, 125)
    for seed in range(6):
        factor = float(np.exp(np.random.default_rng(seed).uniform(-1, 1) * np.log1p(0.25)))
        made = voice.formant(sound(vowel), np.random.default_rng(seed), fraction=0.25)
        spectrum = np.abs(np.fft.rfft(made.samples))
        assert spectrum[harmonics].sum() > 5 * spectrum[harmonics + 62].sum()  # still a buzz of 125 Hz
        wanted = np.abs(np.fft.rfft(pulses(125, 1000 * factor)))[harmonics]
        found = spectrum[harmonics]
        assert np.corrcoef(wanted, found)[0, 1] > 0.9


def test_a_room_adds_its_echo_and_leaves_the_direct_sound_where_it_was():
    click = np.zeros(RATE_HZ, np.float32)
    click[5000] = 0.5
    made = scene.room(Sound(click, 4900, 5100), np.random.default_rng(0), bank(), share=1.0)
    heard = np.flatnonzero(np.abs(made.samples) > 0.05)
    assert heard.tolist() == [5000, 6600] and made.samples[6600] == pytest.approx(0.75 * made.samples[5000], rel=1e-3)


@pytest.mark.parametrize("snr", [0.0, 10.0, 20.0])
def test_noise_is_as_many_decibels_below_the_marked_part(snr):
    quiet = tone(300)
    quiet[:4000] *= 0.01
    made = scene.noise(sound(quiet), np.random.default_rng(1), bank(), snr_db=f"{snr}..{snr}", share=1.0)
    noise_level = np.sqrt(np.mean(np.square(made.samples - quiet)))
    assert 20 * np.log10(sound(quiet).level / noise_level) == pytest.approx(snr, abs=0.5)


def test_talk_is_somebody_else_at_the_same_time():
    made = scene.talk(sound(), np.random.default_rng(0), bank(), snr_db="5..5", share=1.0)
    assert band(made.samples, 1450, 1550) > 0.02 * band(made.samples, 250, 350) > 0


def test_gain_clips_and_shift_moves():
    loud = scene.gain(sound(), np.random.default_rng(0), bank(), db="30..30")
    assert np.abs(loud.samples).max() == 1 and loud.int16().min() == -32767
    quiet = scene.gain(sound(), np.random.default_rng(0), bank(), db="-20..-20")
    assert quiet.level == pytest.approx(0.1 * sound().level, rel=1e-3)
    click = np.zeros(RATE_HZ, np.float32)
    click[8000] = 1
    for seed in range(5):
        made = scene.shift(Sound(click, 8000, 8001), np.random.default_rng(seed), bank(), seconds=0.2)
        assert int(np.argmax(made.samples)) == made.begin and abs(made.begin - 8000) <= 3200


def test_bands_are_cut():
    white = sound(np.random.default_rng(0).normal(0, 0.1, RATE_HZ).astype(np.float32))
    rng = np.random.default_rng(1)
    low = scene.lowpass(white, rng, bank(), khz="3..3", share=1.0).samples
    assert band(low, 4500, 8000) < 0.01 * band(low, 100, 2000)
    high = scene.highpass(white, rng, bank(), hz="400..400", share=1.0).samples
    assert band(high, 20, 150) < 0.01 * band(high, 1000, 1130)
    phone = scene.telephone(white, rng, bank(), share=1.0).samples
    assert band(phone, 5000, 8000) < 0.05 * band(phone, 500, 3000)


def test_codecs_and_overdrive_add_what_they_lose():
    clean = sound(tone(440, level=0.3))
    for seed in range(8):
        coded = scene.codec(clean, np.random.default_rng(seed), bank(), share=1.0)
        error = np.sqrt(np.mean(np.square(coded.samples - clean.samples)[600:-600]))
        assert 0 < error < 0.1 * clean.level
    driven = scene.overdrive(clean, np.random.default_rng(0), bank(), db="15..15", share=1.0)
    assert band(driven.samples, 1300, 1340) > 1e-3 * band(driven.samples, 420, 460)  # the third harmonic
    assert driven.level == pytest.approx(clean.level, rel=0.02)
    gaps = scene.dropout(clean, np.random.default_rng(3), bank(), share=1.0).samples
    assert 100 < np.sum((gaps == 0) & (clean.samples != 0)) < 2000


@pytest.mark.parametrize("name", [*VOICE, *SCENE])
def test_every_step_is_its_seeds_and_leaves_its_input_alone(name):
    step, arguments = ({**VOICE, **SCENE})[name], (() if name in VOICE else (bank(),))
    options = {"share": 1.0} if "share" in (step.__kwdefaults__ or {}) else {}
    given = sound(pulses(125, 1000) + tone(2000))
    before = given.samples.copy()
    one, same, other = (step(given, np.random.default_rng(seed), *arguments, **options) for seed in (1, 1, 2))
    assert np.array_equal(given.samples, before) and np.array_equal(one.samples, same.samples)
    assert one.samples.dtype == np.float32 and np.isfinite(one.samples).all()
    assert 0 <= one.begin < one.end <= len(one.samples)
    if name in SCENE:
        assert len(one.samples) == len(before)
    if name not in ("room", "telephone"):  # one room, one telephone
        assert not np.array_equal(one.samples, other.samples)
    if options:
        never = step(given, np.random.default_rng(1), *arguments, share=0.0)
        assert np.array_equal(never.samples, before)
    silent = step(Sound(np.zeros(3200, np.float32), 800, 1600), np.random.default_rng(1), *arguments, **options)
    assert np.isfinite(silent.samples).all()


def test_the_default_line_works_from_int16_to_int16():
    chain = augment_speech.build(augment_speech.DEFAULT)
    clip = (20000 * pulses(125, 1000)).astype(np.int16)
    made = [chain(clip, np.random.default_rng(seed), bank()) for seed in (1, 1, 2)]
    assert made[0].dtype == np.int16 and np.array_equal(made[0], made[1])
    assert len(made[0]) != len(made[2]) or not np.array_equal(made[0], made[2])
    assert augment_speech.build("none")(clip, np.random.default_rng(0), Bank()) == pytest.approx(clip, abs=1)


def test_a_bank_holds_what_its_chain_needs():
    empty = augment_speech.load_bank(augment_speech.build("gain:-6..6"))
    assert not len(empty.rooms) and not empty.backgrounds.kinds
    with pytest.raises(EdgepressError, match="'room' needs a bank of rooms"):
        scene.room(sound(), np.random.default_rng(0), Bank(), share=1.0)
    with pytest.raises(EdgepressError, match="'noise' needs backgrounds"):
        scene.noise(sound(), np.random.default_rng(0), Bank(), share=1.0)


def test_rooms_are_rooms():
    pytest.importorskip("pyroomacoustics")
    made = rooms.bank(12, seed=1)
    assert made.shape == (12, 8000) and np.allclose(np.sum(np.square(made), axis=1), 1, atol=1e-3)
    assert np.array_equal(made, rooms.bank(12, seed=1))
    assert (np.abs(made).argmax(axis=1) == 8).all() and (np.abs(made[:, :4]).max(axis=1) < 0.3).all()
    energy = np.square(made)
    late = energy[:, 800:].sum(axis=1)  # after 50 ms
    assert late.min() < 0.02 and late.max() > 0.1  # from dry to reverberant
    assert (energy[:, 6000:].sum(axis=1) < energy[:, 100:2100].sum(axis=1)).all()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("rooms:0.5", "unknown augmentation 'rooms'; did you mean 'room'?"),
        ("room:1.5", "augmentation 'room': share is 1.5"),
        ("noise:20..5", "augmentation 'noise': 20..5 is out of reach"),
        ("noise:loud", "augmentation 'noise': 'loud' is no range"),
        ("noise:10", "augmentation 'noise': snr_db should look like 0..30, not 10"),
        ("gain:-90..0", "augmentation 'gain': -90..0 is out of reach"),
        ("lowpass:3..9", "augmentation 'lowpass': 3..9 is out of reach"),
        ("speed:-0.1", "augmentation 'speed': fraction is -0.1"),
        ("formant:shift=2", "augmentation 'formant' has no option 'shift'"),
    ],
)
def test_a_mistyped_line_is_answered(text, sentence):
    with pytest.raises(EdgepressError) as caught:
        augment_speech.build(text)
    assert caught.value.what == sentence


def test_a_picture_is_no_sound():
    with pytest.raises(EdgepressError, match="not an array of shape"):
        Sound.of(np.zeros((4, 4), np.int16))
