"""Why a linear did not run as asked: a kind, and words with its numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal["nearest", "low traffic", "unsound", "clipped", "coarse"]


@dataclass(frozen=True)
class Fallback:
    """``nearest``: rounded to nearest; ``low traffic``: an expert with fewer tokens than channels; ``unsound``: codes
    whose loss is not what their steps add up to; ``clipped`` and ``coarse``: scales at float16's ends.
    """

    kind: Kind
    words: str

    @classmethod
    def of(cls, content: Any) -> Fallback:
        """From a record (:class:`ptqbench.records.Fallen`)."""
        return cls(content["kind"], content["words"])

    def as_json(self) -> dict[str, Any]:
        """What :meth:`of` reads."""
        return asdict(self)

    def __str__(self) -> str:
        """As the tables have it."""
        return f"{self.kind}: {self.words}"
