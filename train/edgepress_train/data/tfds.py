"""Image data sets of the `tensorflow-datasets` catalogue, written out once as folders of PNG files in the cache."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any

from edgepress_train.data import cache, folder
from edgepress_train.data.dataset import DataError, Dataset, Holdout

_PARTS = {"train": "train", "validation": "val", "test": "test"}


def open_tfds(name: str, holdout: Holdout) -> Dataset:
    """The catalogue's data set `name`, its own splits kept. Downloads on first use.

    Raises DataError when the package is missing, the name unknown, or the data no labelled pictures.
    """
    try:
        import tensorflow_datasets as catalogue
    except ImportError:
        raise DataError(
            f"{name!r} is neither a folder, a zip, nor a data set that edgepress brings",
            "for a tensorflow-datasets name: pip install 'edgepress[tfds]'",
        ) from None
    target = cache.folder("tfds") / name.replace("/", "-").replace(":", "-")
    if not target.is_dir():
        partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            builder = catalogue.builder(name)
            builder.download_and_prepare()
            write_folders(builder, partial)
            partial.rename(target)
        except DataError:
            raise
        except Exception as error:  # noqa: BLE001  the catalogue raises whatever its readers and its network raise
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise DataError(
                f"tensorflow-datasets cannot give {name!r}: {first}", "check the name and the network"
            ) from None
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return dataclasses.replace(folder.open_folder(target, holdout), name=name)


def write_folders(builder: Any, root: Path) -> None:
    """Every split of a prepared builder as `part/class/NNNNNN.png` below `root`, with `labels.txt` in class order."""
    from PIL import Image

    features = builder.info.features
    if "image" not in features or not hasattr(features.get("label"), "names"):
        raise DataError(f"{builder.info.name} does not hold labelled pictures (features: {', '.join(features)})")
    names = [label.replace("/", "-") for label in features["label"].names]
    for split, part in _PARTS.items():
        if split not in builder.info.splits:
            continue
        for number, example in enumerate(builder.as_dataset(split=split).as_numpy_iterator()):
            target = root / part / names[int(example["label"])] / f"{number:06d}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            pixels = example["image"]
            Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(target)
    (root / "labels.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
