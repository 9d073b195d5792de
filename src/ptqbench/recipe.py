"""A method as the code sees it: which member acts at each stage, with every parameter written out.

A method is a composition (``transform``, ``range``, ``rounding``, ``activations``, ``propagate``), so its class in the
taxonomy of PTQ-Bench (arXiv 2502.13178) is derived from its members and not declared. In JSON a member is
``{"name": …, **parameters}``, and a recipe ``{transform: [member…], range: member, rounding: member, …}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ptqbench.members import FOLDERS, members, module

CLASSES = ("compensation", "rotation", "salience", "optimization")  # in the taxonomy's order


@dataclass(frozen=True)
class Member:
    """A transform, range or rounding by its name, with all its parameters."""

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Member:
        """From JSON."""
        return cls(content["name"], {key: value for key, value in content.items() if key != "name"})

    def as_json(self) -> dict[str, Any]:
        """What :meth:`of` reads."""
        return {"name": self.name, **self.parameters}

    def has(self, settings: Mapping[str, Any]) -> bool:
        """Whether its parameters are set so."""
        return settings.items() <= self.parameters.items()


@dataclass(frozen=True)
class Recipe:
    """A normalized method; :func:`ptqbench.normalize.normalize` makes it of a line of the config."""

    transforms: tuple[Member, ...]
    range: Member
    rounding: Member
    activations: str = "none"
    propagate: bool = False

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Recipe:
        """From JSON, which may hold a name beside it."""
        return cls(
            transforms=tuple(map(Member.of, content["transform"])),
            range=Member.of(content["range"]),
            rounding=Member.of(content["rounding"]),
            activations=content["activations"],
            propagate=content["propagate"],
        )

    def as_json(self) -> dict[str, Any]:
        """What :meth:`of` reads, and cells are cached by."""
        return {
            "transform": [member.as_json() for member in self.transforms],
            "range": self.range.as_json(),
            "rounding": self.rounding.as_json(),
            "activations": self.activations,
            "propagate": self.propagate,
        }

    @property
    def members(self) -> list[tuple[str, Member]]:
        """``(folder, member)`` of every stage, in the order in which they act."""
        listed = [(FOLDERS["transform"], member) for member in self.transforms]
        return [*listed, (FOLDERS["range"], self.range), (FOLDERS["rounding"], self.rounding)]

    @property
    def modules(self) -> list[str]:
        """The modules of its members, which code reaches by their names."""
        return sorted(module(folder, member.name) for folder, member in self.members)

    @property
    def traits(self) -> list[dict[str, Any]]:
        """The declared literals of every member."""
        return [members(folder)[member.name] for folder, member in self.members]

    @property
    def reads_statistics(self) -> bool:
        """Whether it reads the statistics of the float model, or makes all its own behind the quantized prefix."""
        return not self.propagate or any(trait.get("READS_STATISTICS") for trait in self.traits)

    @property
    def strategy(self) -> list[str]:
        """The classes of a method, in the taxonomy's order; RTN has none."""
        found = {trait.get(key) for trait in self.traits for key in ("STRATEGY", "ALSO")}
        return [name for name in CLASSES if name in found]
