"""Which members fit together, from what each declares in its file.

``NEEDS`` is what must hold when a member acts, ``BREAKS`` what no longer holds after it: literals ``{fact: settings}``,
where the settings are those of its parameters under which that is so (``{}``: always). Members act in the order in
which they are written, then range, rounding and activations; at first every fact holds that the model does not lack.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from ptqbench.errors import UserError
from ptqbench.members import FOLDERS, members
from ptqbench.models.adapter import Adapter
from ptqbench.recipe import Member, Recipe

FACTS = {
    "model_basis": "the model's own basis",
    "model_weight": "the model's own weight",
    "unturned_stream": "a residual stream that nothing has rotated",
    "max_abs": "max |x| of its inputs",
    "free_range": "a range that nothing has learned",
    "plain_linears": "linears without transforms or half-integer zero-points of their own",
    "folded_scales": "scales that fold into the model",
    "rms_norms": "norms that are RMSNorms, with none behind a sublayer",
    "text": "a model of text alone",
    "normed_inputs": "inputs that a norm feeds",
}
Settings = dict[str, dict[str, Any]]

STAGES = {folder: stage for stage, folder in FOLDERS.items()}
OF_MODELS = ("folded_scales", "rms_norms", "text", "normed_inputs")  # facts that a model may lack
REPRESENTED: Settings = {"plain_linears": {}, "folded_scales": {}}
NEEDS: dict[str, Settings] = {"int8": REPRESENTED, "fp8": REPRESENTED}  # of activations, which are no files


class Act(NamedTuple):
    """One member of a recipe: its stage, what it is called, what it needs and breaks as it is set."""

    stage: str
    name: str
    needs: tuple[str, ...]
    breaks: Settings


def acts(recipe: Recipe) -> list[Act]:
    """The members of a normalized recipe in the order in which they act."""
    found = [_act(STAGES[folder], folder, member) for folder, member in recipe.members]
    return [*found, Act("activations", recipe.activations, tuple(NEEDS.get(recipe.activations, ())), {})]


def check(recipe: Recipe, where: str) -> None:
    """Refuse a recipe whose members do not fit together; ``where`` is the method's config key."""
    names = [member.name for member in recipe.transforms]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{where}.transform names '{name}' twice: name each only once")
    broken: dict[str, Act] = {}
    for act in acts(recipe):
        for fact in act.needs:
            if fact in broken and fact not in OF_MODELS:
                raise UserError(
                    f"{where}.{act.stage}: '{act.name}' needs {FACTS[fact]}, which '{broken[fact].name}' takes away: "
                    f"{_remedy(act, broken[fact], fact)}"
                )
        broken |= dict.fromkeys(act.breaks, act)


def check_model(recipe: Recipe, where: str, model: str, lacks: Collection[str]) -> None:
    """Refuse a recipe on a model that lacks some of the facts :data:`OF_MODELS`.

    Where some inputs have no producer, scales fold until a member scales those.
    """
    broken = set(lacks) - {"folded_scales"}
    for act in acts(recipe):
        for fact in act.needs:
            if fact in broken:
                raise UserError(
                    f"{where}.{act.stage}: '{act.name}' needs {FACTS[fact]}, which model '{model}' does not have: "
                    "remove the method or the model from its grid entry"
                )
        broken |= set(act.breaks) & set(lacks)


def lacks(adapter: Adapter, settings: dict[str, Any]) -> set[str]:
    """The facts :data:`OF_MODELS` that do not hold of the model with these ``settings`` (its ``config.json``)."""
    sites = [site for block in range(adapter.n_blocks(settings)) for site in adapter.sites(settings, block)]
    absent = {
        "rms_norms": adapter.norms != "rms",
        "text": adapter.text is not None,
        "normed_inputs": all(site.producer is None or site.producer.kind != "norm" for site in sites),
        "folded_scales": any(site.producer is None for site in sites if site.linears),
    }
    return {fact for fact, is_absent in absent.items() if is_absent}


def special(recipe: Recipe, lacks: Collection[str]) -> str | None:
    """The member after which no packed format holds the linears of a model that lacks these facts; None if all do."""
    breakers = [act for act in acts(recipe) for fact in act.breaks if fact == "plain_linears" or fact in lacks]
    return breakers[0].name if breakers else None


def _act(stage: str, folder: str, member: Member) -> Act:
    declared = members(folder)[member.name]
    needs, breaks = (_holding(declared.get(key, {}), member) for key in ("NEEDS", "BREAKS"))
    return Act(stage, member.name, tuple(needs), breaks)


def _holding(facts: Settings, member: Member) -> Settings:
    return {fact: settings for fact, settings in facts.items() if member.has(settings)}


def _remedy(act: Act, breaker: Act, fact: str) -> str:
    if act.stage == breaker.stage and not set(breaker.needs) & set(act.breaks):
        return f"put {act.name} before {breaker.name}"
    settings = ", ".join(breaker.breaks[fact])
    return "remove one of the two" + (f", or change {settings} of {breaker.name}" if settings else "")
