"""Bundles that can be taught: the embedding beside the scores, the last layer as it is, a word taught to a stream."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.convert.conftest import SPEC, SPOKEN, convert_here, picture, pictures, utterance, write_wav

from edgepress_convert import flatbuffer, last_layer, quantize, teachable
from edgepress_convert.convert import ConvertConfig, Finished, convert
from edgepress_convert.examples import Examples
from edgepress_convert.importers import Source
from edgepress_convert.inspect import inspect
from edgepress_convert.last_layer import NotTeachable
from edgepress_runtime import overlay
from edgepress_runtime.bundle import open_bundle
from edgepress_runtime.classify import Classifier, embedder
from edgepress_runtime.cli import main as device
from edgepress_runtime.engine import open_engine
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.head import read, softmax
from edgepress_runtime.image import normalize
from edgepress_runtime.image import quantize as to_stored
from edgepress_runtime.selftest import self_test
from edgepress_runtime.spot import Spotter
from edgepress_runtime.tensors import reading
from edgepress_train.keras2 import keras

layers = keras.layers
KNOCK = 5000.0  # a tone that the spotter never heard


@pytest.fixture(scope="module")
def quick():
    """The converter in this process: what it does in a child is tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantize, "convert", convert_here)
        yield


@pytest.fixture(scope="module")
def pets(run_folder: Path, tmp_path_factory: pytest.TempPathFactory, quick: None) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "colours.edge"
    convert(ConvertConfig(run_folder, path, teachable=True))
    return path


@pytest.fixture(scope="module")
def tones(speech_run: Path, tmp_path_factory: pytest.TempPathFactory, quick: None) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "tones.edge"
    convert(ConvertConfig(speech_run, path, teachable=True))
    return path


@pytest.mark.parametrize("scheme", ["float16", "int8", "int16x8"])
def test_scores_are_those_of_before_and_the_embedding_is_what_keras_gives_its_last_layer(network, scheme: str) -> None:
    representative = normalize(pictures(40, seed=3)[0], SPEC)
    (plain,) = convert_here(network, (scheme,), representative=representative).values()
    found = last_layer.find(plain)
    dense = network.layers[-1]
    expected = keras.Model(network.inputs, dense.input).predict(representative, verbose=0)
    weights, bias = dense.get_weights()
    assert found.size == weights.shape[0]
    step = np.abs(weights).max(axis=0) / 127 + 1e-4
    assert (np.abs(found.head.weights - weights) <= step).all()
    assert np.allclose(found.head.bias, bias, atol=0.01)
    with open_engine(plain) as before, open_engine(last_layer.expose(plain, found)) as after:
        assert [o.name for o in after.outputs][1:] == ["embedding"]
        real = reading(after.outputs[1])
        scale = after.outputs[1].scale or 0.02
        for given, wanted in zip(to_stored(representative, before.inputs[0]), expected, strict=True):
            (scores,) = before.run(given[np.newaxis])
            same, embedding = after.run(given[np.newaxis])
            assert np.array_equal(scores, same)
            # all but the channel that is dead by design
            assert np.abs(real(embedding.reshape(-1)) - wanted)[:7].max() < max(2 * scale, 0.01)
            told = found.head.scores(real(embedding.reshape(1, -1)))[0]
            assert np.abs(told - reading(after.outputs[0])(scores)[0]).max() < 0.03


def test_a_convolution_of_pooled_features_is_a_last_layer_too() -> None:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 4, 1))
    x = layers.Conv2D(6, (3, 4), activation="relu")(inputs)
    x = layers.Conv2D(3, 1)(layers.AveragePooling2D((6, 1), (1, 1))(x))
    net = keras.Model(inputs, layers.Softmax()(layers.Flatten()(x)))
    x = np.random.default_rng(0).normal(0, 1, (5, 8, 4, 1)).astype(np.float32)
    model = convert_here(net, ("float32",))["float32"]
    found = last_layer.find(model)
    with open_engine(last_layer.expose(model, found)) as engine:
        embeddings = np.stack([engine.run(one[np.newaxis])[1].reshape(-1) for one in x])
    kernel, bias = net.layers[-3].get_weights()
    assert np.allclose(softmax(embeddings @ kernel[0, 0] + bias), net.predict(x, verbose=0), atol=1e-5)
    assert np.allclose(found.head.weights, kernel[0, 0])


def ends_in(name: str):
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(4, 3, activation="relu", name="first")(inputs)
    if name == "sigmoid":
        return keras.Model(inputs, layers.Dense(3, activation="sigmoid")(layers.Flatten()(x)))
    if name == "places":
        return keras.Model(inputs, layers.Softmax()(layers.GlobalAveragePooling2D()(layers.Conv2D(3, 1)(x))))
    if name == "relu6":
        return keras.Model(inputs, layers.Softmax()(layers.ReLU(6.0)(layers.Dense(3)(layers.Flatten()(x)))))
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("sigmoid", "the model ends in LOGISTIC ("),
        ("nothing", "the model ends in FULLY_CONNECTED ("),
        ("places", "the softmax of the model follows MEAN ("),
        ("relu6", "), has an activation before the softmax"),
    ],
)
def test_a_net_without_such_a_layer_is_refused_by_what_it_ends_in(name: str, sentence: str) -> None:
    model = convert_here(ends_in(name), ("float32",))["float32"]
    with pytest.raises(NotTeachable) as error:
        last_layer.find(model)
    assert sentence in error.value.what
    assert "ends in a dense layer" in error.value.remedy


def test_the_bundle_says_so_and_still_is_the_bundle_it_was(pets: Path, run_folder: Path, tmp_path: Path) -> None:
    convert(ConvertConfig(run_folder, tmp_path / "plain.edge"))
    plain, bundle = open_bundle(tmp_path / "plain.edge"), open_bundle(pets)
    assert plain.manifest.teaching is None
    assert b'"teaching"' not in bytes(plain.members["manifest.json"])
    assert (bundle.manifest.teaching.output, bundle.manifest.teaching.size) == (1, 8)
    assert bundle.manifest.outputs[0] == plain.manifest.outputs[0]
    head, kept = read(bundle)
    assert head.weights.shape == (8, 3)
    # the validation part has a few pictures of each class, all of which are kept
    assert len(kept) == bundle.manifest.recipe["teachable"]["kept"] == bundle.manifest.metrics["val"]["n"]
    assert (head.logits(kept.embeddings).argmax(axis=1) == kept.labels).mean() > 0.9
    pixels = pictures(20, seed=9)[0]
    with open_engine(plain.model_source) as one, open_engine(bundle.model_source) as two:
        assert self_test(bundle, two).ok
        before, after = Classifier(one, plain.manifest), Classifier(two, bundle.manifest)
        assert [before.classify(p) for p in pixels] == [after.classify(p) for p in pixels]


def test_kept_examples_are_validation_examples_through_the_model_itself(pets: Path, run_folder: Path) -> None:
    from edgepress_train import run
    from edgepress_train.data.pixels import load_split
    from edgepress_train.data.sources import reopen

    bundle = open_bundle(pets)
    pixels, kept, _ = load_split(reopen(run.load(run_folder).data).splits["val"], SPEC)
    with open_engine(bundle.model_source) as engine:
        embed = embedder(engine, bundle.manifest)
        mine = {(embed(p).tobytes(), label) for p, label in zip(np.asarray(pixels), kept.labels.tolist(), strict=True)}
    found = read(bundle)[1]
    assert {(row.tobytes(), label) for row, label in zip(found.embeddings, found.labels.tolist(), strict=True)} == mine


def test_every_class_is_kept_alike_and_within_the_budget() -> None:
    held = np.repeat([0, 1, 2], [300, 40, 7])
    labels = ("a", "b", "c")
    for size, counts in ((8, [100, 40, 7]), (4000, [21, 21, 7]), (1 << 20, [2, 2, 2])):
        index = teachable.choose(held, labels, size, seed=0)
        assert np.bincount(held[index]).tolist() == counts
        assert len(set(index.tolist())) == len(index)
    with pytest.raises(EdgepressError, match="there are 1 validation examples of 'd'"):
        teachable.choose(np.array([0, 0, 1, 1, 2, 2, 3]), (*labels, "d"), 8, seed=0)
    with pytest.raises(EdgepressError, match="0 validation examples"):
        teachable.choose(None, labels, 8, seed=0)


def test_a_foreign_model_without_data_is_refused(made, tmp_path: Path) -> None:
    examples = Examples(np.zeros((4, 12, 12, 3), np.uint8), lambda x: x, None, "pictures")
    source = Source("tflite", "x", "image-classification", ("a", "b", "c"), SPEC)
    with pytest.raises(EdgepressError, match="must keep the old classes in mind"):
        teachable.finish(Finished(made["int8"], None), made["int8"], examples, source, seed=0)


def test_a_streaming_model_gives_each_window_its_embedding(tones: Path, speech_run: Path) -> None:
    bundle = open_bundle(tones)
    manifest = bundle.manifest
    assert manifest.teaching.output == len(manifest.inputs) == len(manifest.outputs) - 1
    head, kept = read(bundle)
    with np.load(speech_run / "features.npz") as arrays:
        windows = arrays["val_features"].astype(np.float32)[:6]
    with open_engine(bundle.model_source, threads=1) as engine:
        assert self_test(bundle, engine).ok
        spotter = Spotter(engine, manifest)
        for window in windows:
            spotter.reset()
            silence = np.zeros(4 * spotter.step_samples, np.int16)
            assert len(spotter.embeddings(silence)) > 0
            spotter.reset()
            scores = spotter.scores_of(window)
            spotter.reset()
            # The stream's last embedding and its last scores belong together.
            taught = Spotter(engine, manifest, head)
            assert np.abs(taught.scores_of(window) - scores).max() < 0.03
    words = kept.take(kept.labels >= 0)
    assert (head.logits(words.embeddings).argmax(axis=1) == words.labels).mean() > 0.9
    assert 100 < (kept.labels < 0).sum() <= teachable.SOUND
    assert inspect(tones)["stream"]["step_frames"] == 2


def test_a_picture_class_taught_from_five_pictures(pets: Path, tmp_path: Path, capsys) -> None:
    rng = np.random.default_rng(4)

    def white(number: int) -> Path:
        path = tmp_path / f"white{number}.png"
        shade = np.full((12, 12, 3), 235) + rng.normal(0, 8, (12, 12, 3))
        Image.fromarray(np.clip(shade, 0, 255).astype(np.uint8)).save(path)
        return path

    photos, others = [white(n) for n in range(5)], [white(n) for n in range(5, 25)]
    out = tmp_path / "x.taught"
    assert device(["teach", str(pets), "--name", "white", *map(str, photos), "--out", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["label"], said["taught"], said["new"]["files"]) == ("white", ["white"], 5)
    taught = overlay.applied(open_bundle(pets), overlay.read(out))
    pixels, labels = pictures(60, seed=11)
    with open_engine(taught.model_source) as engine:
        before = Classifier(engine, open_bundle(pets).manifest)
        after = Classifier(engine, taught.manifest, taught.head)
        found = [after.classify(np.asarray(Image.open(p))).label for p in others]
        assert found.count("white") >= 18
        assert all(after.classify(p).label == after.top(p, 1)[0].label for p in pixels)
        right = [
            [c.classify(p).index == label for p, label in zip(pixels, labels, strict=True)] for c in (before, after)
        ]
        assert sum(right[1]) >= sum(right[0]) - 2


def test_a_word_taught_from_five_recordings_is_heard_in_a_stream(
    tones: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    from tests.convert import conftest

    monkeypatch.setitem(conftest.TONES, "knock", KNOCK)
    rng = np.random.default_rng(8)
    clips = []
    for number in range(5):
        clips.append(tmp_path / f"knock{number}.wav")
        write_wav(clips[-1], utterance("knock", rng, seconds=1.5))
    write_wav(tmp_path / "silent.wav", np.zeros(16_000, np.int16))
    out = tmp_path / "x.taught"
    words = ["teach", str(tones), "--word", "knock", *map(str, clips), str(tmp_path / "silent.wav"), "--out", str(out)]
    assert device([*words, "--json"]) == 0
    captured = capsys.readouterr()
    assert "silent.wav holds nothing but silence" in captured.err
    said = json.loads(captured.out)
    assert said["new"]["files"] == 5
    assert 0.5 <= said["threshold"] < 1
    bundle = overlay.applied(open_bundle(tones), overlay.read(out))
    assert bundle.manifest.labels == (*SPOKEN, "knock")
    assert bundle.manifest.thresholds["knock"] == said["threshold"]
    heard: dict[str, list[list[str]]] = {word: [] for word in ("ping", "pong", "unknown", "knock")}
    with open_engine(bundle.model_source, threads=1) as engine:
        spotter = Spotter(engine, bundle.manifest, bundle.head)
        for word in (*heard,) * 5:
            heard[word].append([d.label for d in spotter.whole(utterance(word, rng, seconds=1.5))])
    assert sum(found == ["knock"] for found in heard["knock"]) >= 4
    assert sum(found == [word] for word in ("ping", "pong") for found in heard[word]) >= 8
    assert not any("knock" in found for word in ("ping", "pong", "unknown") for found in heard[word])


def test_text_and_flags(run_folder: Path, pets: Path, tmp_path: Path) -> None:
    with pytest.raises(EdgepressError, match="models for text-classification cannot be taught"):
        teachable.check_task("text-classification")
    graph = flatbuffer.graphs(bytes(open_bundle(pets).model))[0]
    assert graph.tensors[graph.outputs[1]].name == "embedding"
    assert picture(np.random.default_rng(0), 0).shape == (12, 12, 3)
