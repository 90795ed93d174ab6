"""The one error that a person may see: what went wrong, and what to do about it."""

from __future__ import annotations


class EdgepressError(Exception):
    """A failure told in one sentence (`what`) with its mend (`remedy`, may be empty).

    Commands print `what` and a `tip:` line on stderr and exit with 1; the traceback appears only with `--debug`.
    """

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.what} ({self.remedy})" if self.remedy else self.what


class BundleError(EdgepressError):
    """A bundle that is truncated, altered, too new, or not a bundle at all. Nothing was changed on the board."""


class StoreError(EdgepressError):
    """The board's model store could not be read or changed; it is as it was before."""
