"""A recipe as code: its members with their parameters."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from typing import Any

import torch

from ptqbench.members import class_name, module
from ptqbench.methods.basis import SiteBasis
from ptqbench.methods.contracts import Learner, Range, Rounding, SiteTransform, Transform, WeightTransform
from ptqbench.methods.problem import Problem
from ptqbench.methods.state import BlockState
from ptqbench.models.adapter import Site
from ptqbench.numbers.grid import Grid
from ptqbench.recipe import Member, Recipe


@dataclass(frozen=True)
class Composition:
    """The members that a recipe names; a learned range has no bounds of its own."""

    transforms: tuple[Transform, ...]
    range: Range | Learner
    rounding: Rounding

    @classmethod
    def of(cls, recipe: Recipe) -> Composition:
        """From a normalized recipe."""
        transforms = tuple(made("transforms", member) for member in recipe.transforms)
        return cls(transforms, made("ranges", recipe.range), made("rounding", recipe.rounding))

    def basis(self, state: BlockState, site: Site) -> SiteBasis:
        """The basis that the transforms choose for a site, after scales that folded nowhere."""
        basis = SiteBasis(state.channel_scale.get(site.name))
        for transform in self.transforms:
            if isinstance(transform, SiteTransform):
                basis = transform.basis(state, site, basis)
        return basis

    def problem(self, state: BlockState, site: Site, basis: SiteBasis, grid: Grid, trusted: bool = False) -> Problem:
        """What is rounded of a site in a basis: its weights, as transforms (MagR) reshape them there."""
        statistics = state.statistics[site.name]
        problem = Problem(
            weight=torch.cat([basis.of(linear).forward(state.weight(linear)) for linear in site.linears]),
            hessian=basis.moment(statistics.hessian),
            grid=grid,
            bounds=self.range.bounds if isinstance(self.range, Range) else None,
            cross=None if statistics.cross is None else basis.moment(statistics.cross),
            trusted=trusted,
        )
        for transform in self.transforms:
            if isinstance(transform, WeightTransform):
                problem = replace(problem, weight=transform.reshape(problem))
        return problem

    @property
    def reshapes(self) -> bool:
        """Whether what is rounded is another weight than the model's."""
        return any(isinstance(transform, WeightTransform) for transform in self.transforms)

    @property
    def learner(self) -> Learner | None:
        """The member that is trained on each block."""
        return next((one for one in (self.range, self.rounding) if isinstance(one, Learner)), None)


def made(folder: str, member: Member) -> Any:
    """A member with its parameters."""
    found = importlib.import_module(module(folder, member.name))
    return getattr(found, class_name(member.name))(**member.parameters)


def name_of(member: object) -> str:
    """What a member is called in a config."""
    return type(member).__module__.rpartition(".")[2]
