"""`edgepress keys`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgepress_convert.cli import output
from edgepress_convert.cli.options import Json

if TYPE_CHECKING:
    from rich.console import Console

NEW_EXAMPLE = "for example: edgepress keys new workshop"
LIST_EXAMPLE = "for example: edgepress keys list"
SIGN_EXAMPLE = "for example: edgepress keys sign cats.edge --key workshop"


def new(
    name: Annotated[str, typer.Argument(help="What to call the key.")],
    json: Json = False,
) -> None:
    """Make a key pair that signs bundles; boards are given its public half."""
    from edgepress_convert import signing

    output.emit(signing.new(name), as_json=json, show=_show_key)


def list_keys(json: Json = False) -> None:
    """The keys of this user."""
    from edgepress_convert import signing

    found = signing.listed()
    output.emit({"folder": str(signing.folder()), "keys": found}, as_json=json, show=_show_keys)


def sign(
    bundle: Annotated[Path, typer.Argument(metavar="X.edge", help="The bundle to sign.")],
    key: Annotated[str, typer.Option(help="Name of a key, or its .pem file.")],
    json: Json = False,
) -> None:
    """Sign a bundle, replacing any signature that it has."""
    from edgepress_convert import signing

    signer = signing.sign(bundle, key)
    told = {"bundle": str(bundle), "key": signer.name, "id": signer.id}
    output.emit(told, as_json=json, show=lambda console, told: console.print(f"{bundle} is signed by {signer.name}"))


def _show_key(console: Console, key: Any) -> None:
    output.facts(console, [("key", key.name), ("id", key.id), ("private", key.private), ("public", key.public)])
    console.print(
        f"next: put {key.public} on a board: edgepress-device trust add {Path(key.public).name}", markup=False
    )


def _show_keys(console: Console, told: Any) -> None:
    if not told["keys"]:
        console.print(f"no keys in {told['folder']}; make one with: edgepress keys new NAME", markup=False)
    for key in told["keys"]:
        console.print(f"{key.name}  {key.id}  {key.public}", markup=False)
