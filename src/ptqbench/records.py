"""What every record holds that a stage writes as JSON and another reads: one type each, checked on both ways.

A record may hold more than its type says. Here is no file and no torch: :mod:`ptqbench.sealed` writes and reads them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, NotRequired, TypedDict, Union, get_args, get_origin, get_type_hints, is_typeddict


class Key(TypedDict):
    """What a stage's output follows from; ``inputs`` by :func:`ptqbench.manifest.identity`, ``sources`` by sha256."""

    spec: dict[str, Any]
    code: dict[str, str]
    versions: dict[str, str]
    inputs: dict[str, str]
    sources: dict[str, str]


class Measured(TypedDict):
    """What a stage took."""

    seconds: float
    peak_memory_bytes: int | None
    device: str


class File(TypedDict):
    """A file of an artifact."""

    bytes: int
    sha256: str


class Manifest(Key):
    """What every artifact's manifest holds: what made it, and its files by their path beside the manifest."""

    files: dict[str, File]


class Model(Manifest):
    """A model folder as it is, or fetched."""

    adapter: str
    model_type: str
    n_blocks: int
    weight_bytes: int


class Tokens(Manifest):
    """A calibration set as one tokenizer sees it."""

    samples: int


class Statistics(Manifest, Measured):
    """Statistics of every input site."""

    adapter: str


class Fallen(TypedDict):
    """A :class:`ptqbench.fallback.Fallback`."""

    kind: str
    words: str


class Layer(TypedDict):
    """What quantization says of one linear."""

    linear: str
    site: str
    proxy_loss: float
    nearest_proxy_loss: float
    snr_db: float
    fallback: NotRequired[Fallen]


class Codes(Manifest, Measured):
    """A cell, or the part of it that one job made.

    ``packed_bytes`` and ``n_weights`` are of the quantized linears of that part; ``float_bytes`` of what stays in float
    in the whole cell's checkpoint, ``added_bytes`` those of them that the model did not have.
    """

    layers: list[Layer]
    transforms: list[dict[str, Any]]
    packed_bytes: int
    n_weights: int
    float_bytes: int
    added_bytes: int
    config: dict[str, Any]
    widths: dict[str, int]


class Quantized(TypedDict):
    """What the report says of the codes of a checkpoint; none for the float model's."""

    layers: list[Layer]
    packed_bytes: int
    n_weights: int
    seconds: float
    peak_memory_bytes: int | None
    device: str
    added_bytes: int
    float_bytes: int


class Theirs(TypedDict):
    """What a checkpoint that somebody else quantized tells of itself, and what it holds.

    ``widths`` is empty, and the others None, where its config is silent. ``quantized_bytes`` and ``n_weights`` are of
    the weights that are not stored as the float model stores them.
    """

    told: str
    widths: list[int]
    group_size: int | None
    number: str | None
    quantized_bytes: int
    n_weights: int


class Exported(TypedDict):
    """What a checkpoint folder is; ``checkpoint`` is its path from its manifest, None for a local model as it is."""

    checkpoint: str | None
    adapter: str
    model_type: str
    format: str
    reason: str | None
    weight_bytes: int
    packed_weight_bytes: int
    dtype: str
    n_parameters: int
    dense_part: NotRequired[str]
    quantized: NotRequired[Quantized]
    theirs: NotRequired[Theirs]


class Packed(Manifest, Measured, Exported):
    """A checkpoint folder."""


class Diagnosis(Manifest, Measured):
    """Tables on why a cell scores as it does."""


class Reference(Manifest, Measured):
    """The float model's predictions on the windows of a suite."""

    windows: int


class Row(TypedDict):
    """One metric of one task; ``items``: its scores, document by document or window by window."""

    task: str
    metric: str
    value: float
    stderr: float
    n: int
    window: NotRequired[int]
    asked: NotRequired[bool]
    leaves: NotRequired[dict[str, float]]
    items: NotRequired[list[float]]
    logprobs: NotRequired[list[list[float]]]
    top_k: NotRequired[int]


class Reported(Exported):
    """What a result says of its checkpoint, so that the report needs no other file of the cell."""

    code: dict[str, str]
    versions: dict[str, str]


class Result(Key, Measured):
    """One suite on one checkpoint."""

    cell: Reported
    backend: str
    export: str
    rows: list[Row]
    server: NotRequired[str]


class PlannedCell(TypedDict):
    """A cell of the report: model, calibration set, method and scheme, and what it was made from."""

    cell: list[str]
    spec: dict[str, Any]
    family: str
    expected_memory_bytes: NotRequired[dict[str, int]]
    seed: NotRequired[int]
    seeds_of: NotRequired[list[str]]


class PlannedEvaluation(TypedDict):
    """A result of the report."""

    cell: list[str]
    suite: str
    spec: dict[str, Any]


class PlannedDiagnosis(TypedDict):
    """A diagnosis of the report."""

    cell: list[str]
    spec: dict[str, Any]


class Planned(TypedDict):
    """What a report covers."""

    cells: list[PlannedCell]
    evaluations: list[PlannedEvaluation]
    diagnosed: list[PlannedDiagnosis]


class Environment(TypedDict):
    """A serving environment: the digest of its ``lock`` and its ``python``, absolute or beside the marker."""

    lock: str
    python: str


def misfit(value: Any, kind: Any, where: str = "it") -> str | None:
    """What of a value of JSON does not fit a type, in words; None if it fits.

    Types are those above, ``Any``, ``None``, ``str``, ``bool``, ``int``, ``float`` (an integer too), and lists,
    mappings and unions of such.
    """
    origin, inside = get_origin(kind), get_args(kind)
    if kind is Any:
        return None
    if is_typeddict(kind):
        return _misfit_of_mapping(value, kind, where)
    if origin in (Union, UnionType):
        return None if any(misfit(value, one) is None for one in inside) else f"{where} is {_name(value)}"
    if origin is list:
        return _misfit_of_list(value, inside[0], where)
    if origin is dict:
        if not isinstance(value, dict):
            return f"{where} is {_name(value)} where a mapping should be"
        return _first(misfit(one, inside[1], f"{where}.{key}") for key, one in value.items())
    allowed = (int, float) if kind is float else (NoneType,) if kind in (None, NoneType) else (kind,)
    return None if type(value) in allowed else f"{where} is {_name(value)} where {kind.__name__} should be"


def _misfit_of_mapping(value: Any, kind: Any, where: str) -> str | None:
    if not isinstance(value, dict):
        return f"{where} is {_name(value)} where a mapping should be"
    for key, wanted in _fields(kind).items():
        optional = get_origin(wanted) is NotRequired
        if key not in value and not optional:
            return f"{where} lacks the key '{key}'"
        found = misfit(value[key], get_args(wanted)[0] if optional else wanted, key) if key in value else None
        if found:
            return found if where == "it" else f"{where}.{found}"
    return None


def _misfit_of_list(value: Any, kind: Any, where: str) -> str | None:
    if not isinstance(value, list):
        return f"{where} is {_name(value)} where a list should be"
    if kind is float and set(map(type, value)) <= {int, float}:  # millions of numbers
        return None
    return _first(misfit(one, kind, f"{where}.{index}") for index, one in enumerate(value))


@lru_cache
def _fields(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _first(found: Iterable[str | None]) -> str | None:
    return next(filter(None, found), None)


def _name(value: Any) -> str:
    return "null" if value is None else f"a {type(value).__name__}"
