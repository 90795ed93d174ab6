"""Masked language modelling on plain text: what stood where pieces are hidden (Devlin et al. 2019, arXiv:1810.04805).

No labels are needed. The encoder that learns it is what `train text --init RUN` starts from.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

import edgepress_train.keras2  # noqa: F401  first: it decides how TensorFlow starts
from edgepress_runtime import disk
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.preprocessing import TextSpec
from edgepress_runtime.text import VOCABULARY, Tokenizer
from edgepress_train import models, run
from edgepress_train.config import as_json
from edgepress_train.config_text import PretrainTextConfig
from edgepress_train.data import pipeline_text
from edgepress_train.data.dataset import DataError
from edgepress_train.data.text import read_lines
from edgepress_train.data.vocabulary import tokenizer
from edgepress_train.fit import build_optimizer, fit, fit_config
from edgepress_train.keras2 import keras
from edgepress_train.progress import Progress, silent

TASK = "text-pretraining"
_FEWEST = 3  # pieces of a window that something can be told about


class MaskedLanguage(keras.Model):
    """`encoder` in training: (n, length) ids -> (n, length, dim); a dense layer and the embeddings tell the pieces.

    A batch is (corrupted ids, ids, chosen); the loss is the mean cross-entropy, in nats, of the pieces at chosen
    places, and only there is anything computed. The output weights are the encoder's own `embeddings`, as in BERT.
    """

    def __init__(self, encoder: keras.Model, embeddings: keras.layers.Embedding) -> None:
        super().__init__()
        dim, pieces = embeddings.output_dim, embeddings.input_dim
        self.encoder = encoder
        self.transform = keras.layers.Dense(dim, activation="relu", kernel_initializer="he_normal", name="transform")
        self.transform.build((None, encoder.output_shape[-1]))
        self.piece_bias = self.add_weight("bias", (pieces,), initializer="zeros")
        # A function: Keras would take the layer for another one of this model's.
        self._table = lambda: embeddings.embeddings
        self._loss = keras.metrics.Mean(name="loss")
        self._accuracy = keras.metrics.Mean(name="accuracy")
        self.build(encoder.input_shape)

    def build(self, input_shape):
        self.built = True  # the parts are, and a training that was stopped early is resumed by its weights alone

    def call(self, inputs, training=None):
        return self.encoder(inputs, training=training)

    @property
    def metrics(self):
        return [self._loss, self._accuracy]

    def train_step(self, data):
        corrupted, ids, chosen = data
        with tf.GradientTape() as tape:
            loss, right = self._judge(corrupted, ids, chosen, training=True)
            mean = tf.reduce_mean(loss)
        self.optimizer.minimize(mean, self.trainable_variables, tape=tape)
        return self._told(loss, right)

    def test_step(self, data):
        return self._told(*self._judge(*data, training=False))

    def _judge(self, corrupted, ids, chosen, *, training: bool):
        """Loss and correctness at each chosen place: (places,) float32 twice."""
        places = tf.where(chosen > 0)
        hidden = self.transform(tf.gather_nd(self.encoder(corrupted, training=training), places))
        logits = tf.matmul(hidden, self._table(), transpose_b=True) + self.piece_bias
        truth = tf.gather_nd(ids, places)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(truth, logits)
        return loss, tf.cast(tf.argmax(logits, axis=1, output_type=tf.int32) == truth, tf.float32)

    def _told(self, loss, right):
        self._loss.update_state(loss)
        self._accuracy.update_state(right)
        return {metric.name: metric.result() for metric in self.metrics}


def train(
    config: PretrainTextConfig, *, command: Sequence[str] = (), resume: bool = False, force: bool = False,
    progress: Progress = silent,
) -> run.Run:  # fmt: skip
    """Pretrain as `config` says and write the RUN folder `config.out`: a model whose encoder has learned, `vocab.txt`.

    Raises EdgepressError when the data, the configuration or the output folder do not allow it.
    """
    run.refuse(config.out, as_json(config), resume=resume, force=force)
    build_optimizer(fit_config(config, 1))
    lines = list(dict.fromkeys(read_lines(config.data)))
    progress("vocabulary", 0, 1, f"{len(lines)} lines")
    found, vocabulary = tokenizer(
        lines, length=config.length, pieces=config.pieces, case=config.case, accents=config.accents
    )
    progress("vocabulary", 1, 1, f"{found.spec.pieces} pieces")
    keras.utils.set_random_seed(config.seed)
    whole = models.build(config.arch, (config.length, found.spec.pieces), 2, archs=models.TEXT_ARCHS)
    encoder = hidden_of(whole)
    ids, val_ids = _windows(lines, found, config)
    learner = MaskedLanguage(encoder, embeddings_of(encoder, found.spec.pieces))
    run.prepare(config.out, as_json(config), resume=resume, force=force)
    val = pipeline_text.masked_once(val_ids, found.spec.pieces, share=config.mask, seed=config.split_seed)
    stream = partial(pipeline_text.masked_batches, ids, found.spec.pieces, share=config.mask, batch=config.batch)
    fitted = fit(
        learner,
        lambda start, stop: stream(seed=config.seed, start=start, stop=stop),
        config=fit_config(config, len(ids)),
        out=config.out,
        val=val if len(val_ids) else None,
        resume=resume,
        progress=progress,
    )
    disk.write_bytes(config.out / VOCABULARY, vocabulary)
    told = learner.evaluate(val, verbose=0, return_dict=True) if len(val_ids) else None
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    result = run.Run(
        path=config.out,
        task=TASK,
        command=shlex.join(command),
        config=as_json(config),
        labels=(),
        preprocessing=found.spec,
        data={"name": Path(config.data).name, "source": str(Path(config.data).resolve()), "fingerprint": digest,
              "counts": {"lines": len(lines), "train": len(ids), "val": len(val_ids), "pieces": int((ids > 0).sum())}},
        metrics={
            "epochs": fitted.epochs,
            "kept_epoch": fitted.kept_epoch,
            "train_seconds": round(fitted.seconds, 1),
            "params": int(encoder.count_params()),
            "val": None if told is None else {"n": len(val_ids), **{k: float(v) for k, v in told.items()}},
        },
    )  # fmt: skip
    # With an untaught classifier: a model is filled from one of the same shape, layer by layer in its order.
    return run.save(result, whole)


def hidden_of(model: keras.Model) -> keras.Model:
    """(n, length) ids -> (n, length, dim): what a classifier averages over the pieces; shares its layers and name."""
    for layer in reversed(model.layers):
        if isinstance(layer, keras.layers.Dot):  # the weighted mean is the last product
            return keras.Model(model.inputs[0], layer.input[1], name=model.name)
    raise EdgepressError(f"{model.name} has no encoder to pretrain", "use --arch transformer")


def embeddings_of(encoder: keras.Model, pieces: int) -> keras.layers.Embedding:
    """The layer that gives each piece its vector."""
    return next(
        layer for layer in encoder.layers
        if isinstance(layer, keras.layers.Embedding) and layer.trainable and layer.input_dim == pieces
    )  # fmt: skip


def _windows(lines: Sequence[str], found: Tokenizer, config: PretrainTextConfig) -> tuple[np.ndarray, np.ndarray]:
    """Ids of the training and the validation lines, (n, length) int32 each; long lines are cut into several rows."""
    held = np.random.default_rng(config.split_seed).random(len(lines)) < config.val_fraction
    rows: tuple[list[list[int]], list[list[int]]] = ([], [])
    for line, is_val in zip(lines, held, strict=True):
        ids = found.ids(line)
        for start in range(0, len(ids), config.length):
            part = ids[start : start + config.length]
            if len(part) >= _FEWEST:
                rows[int(is_val)].append(part)
    if not rows[0]:
        raise DataError(f"{config.data} has no line of {_FEWEST} pieces or more", "give more text")
    return _padded(rows[0], found.spec), _padded(rows[1], found.spec)


def _padded(rows: Sequence[Sequence[int]], spec: TextSpec) -> np.ndarray:
    ids = np.zeros((len(rows), spec.length), np.int32)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row
    return ids
