"""What the choice table decides is what runs, and is in the keys: over every row, backend, layout and model type."""

from __future__ import annotations

import copy
import os
import random
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from clone import config
from formats_of_numbers import NAMES

from ptqbench import reach, spec
from ptqbench.errors import UserError
from ptqbench.formats import choice
from ptqbench.formats.choice import choose, table
from ptqbench.formats.layout import Layout
from ptqbench.manifest import canonical
from ptqbench.schemes import filled
from ptqbench.serving_checks import check_serving
from ptqbench.stages import evaluate, export

ROUNDS = int(os.environ.get("PTQBENCH_SOAK", "1"))
BACKENDS = sorted(table())
TYPES = ["llama", *sorted({name for rows in table().values() for row in rows for name in row.get("model_types", [])})]
METHODS: dict[str, Any] = {
    "plain": {},
    "a8": {"transform": "smooth", "activations": "int8"},
    "f8": {"activations": "fp8"},
    "online": {"transform": [{"rotation": "hadamard"}, {"rotation": "online"}]},
    "online-a8": {"transform": [{"rotation": "hadamard"}, {"rotation": "online"}], "activations": "int8"},
}
WIDTHS: list[dict[str, Any]] = [{"bits": bits} for bits in range(2, 9)]
WIDTHS += [{"bits": "mixed", "budget": min(several), "choices": several} for several in ([2, 3, 4], [4, 8], [3, 8])]
SCHEMES = {
    f"{scheme.get('choices', scheme['bits'])}-{group}-{symmetric}": {
        **scheme,
        "group_size": group,
        "symmetric": symmetric,
    }
    for scheme, group, symmetric in product(WIDTHS, (-1, 32, 64, 128), (False, True))
}
SCHEMES |= {name: {"number": name} for name in NAMES}
FORMATS = sorted({row["format"] for rows in table().values() for row in rows})
Cell = tuple[str, str, str, str, str, str]  # the table's backend, the suite's, format, method, scheme, model type


RARE: list[Cell] = [
    ("vllm-cuda", "vllm-cuda", "gptq", "plain", "3-128-True", "llama"),
    ("vllm-cuda", "vllm-cuda", "gptq", "plain", "2--1-True", "llama"),
    ("vllm-cuda", "vllm-cuda", "gptq", "plain", "4-32-True", "llama"),
    ("vllm-cuda", "vllm-cuda", "auto", "online", "4-64-False", "llama"),
    ("vllm-cpu", "vllm-cpu", "awq", "plain", "4-64-False", "llama"),
]


def cells(count: int, seed: int = 0) -> list[Cell]:
    """Random ones; checkpoints are made for the first backend, and a suite may ask another.

    What is common is drawn as often as all that is special.
    """
    draw = random.Random(seed)

    def one(common: str, names: Any) -> str:
        return common if draw.random() < 0.5 else draw.choice(list(names))

    def cell() -> Cell:
        backend = draw.choice(BACKENDS)
        layout = one("plain", METHODS), draw.choice(list(SCHEMES))
        return backend, one(backend, BACKENDS), one("auto", FORMATS), *layout, one("llama", TYPES)

    return [cell() for _ in range(count)]


def settings(backend: str, asked: str, form: str = "auto") -> dict[str, Any]:
    found = config() | {"backend": backend, "methods": METHODS, "schemes": SCHEMES, "export": {"format": form}}
    found["suites"]["perplexity"]["backend"] = asked
    return found


def key(cell: Cell) -> str:
    """Everything by which an evaluation is known, its code included; without a suite's own backend, which is a word."""
    backend, asked, form, method, scheme, model_type = cell
    found = spec.evaluate_spec(settings(backend, asked, form), "tiny", "text", method, scheme, "perplexity", model_type)
    found["suite"].pop("backend")
    return canonical([found, reach.evaluation(found)])


def layouts(scheme: str, method: str) -> list[dict[str, Any]]:
    """The properties of each width of a scheme, by the words of the table."""
    one = filled(SCHEMES[scheme])
    shared = {"symmetric": one["symmetric"], "group_size": one["group_size"], "grouped": one["group_size"] > 0}
    shared |= {
        "activations": "int8" if "a8" in method else "fp8" if method == "f8" else "none",
        "online": "online" in method,
    }
    shared["number"] = one.get("number", "integer")
    return [{**shared, "bits": bits, "mixed": "choices" in one} for bits in one.get("choices", [one["bits"]])]


def holding(backend: str, layout: dict[str, Any], model_type: str) -> Iterator[dict[str, Any]]:
    """The rows of the table that hold, read as its head says."""
    for row in table()[backend]:
        if model_type not in row.get("model_types", [model_type]):
            continue
        if layout["activations"] not in row.get("activations", ["none"]):
            continue
        if row["format"] != "dense" and layout["number"] not in row.get("number", ["integer"]):
            continue
        if layout["online"] and row["format"] != "dense" and "transform" not in row:
            continue
        if all(layout[name] in row[name] for name in choice.CONDITIONS if name in row and name != "activations"):
            yield row


def runs(cell: Cell) -> Any:
    """What a cell is exported as (and why), which backend evaluates it, and what that reads with which flags."""
    backend, asked, form, method, scheme, model_type = cell
    widths = layouts(scheme, method)
    mixed = "choices" in SCHEMES[scheme]

    def first(at: str, form: str) -> list[dict[str, Any]]:
        found = []
        for layout in widths:
            rows = holding(at, layout, model_type)
            named = [
                row for row in rows if form in ("auto", row["format"]) or ("model_types" in row and form != "dense")
            ]
            found += named[:1]
        return found if len(found) == len(widths) else []

    rows = first(backend, form) if form not in ("gptq", "awq") or not mixed else []
    row = ([row for row in rows if row["format"] == "dense"] + rows)[:1]
    stored = ("format", "zeros", "because", *(["transform"] if "online" in method else []))
    exported = [{name: value for name, value in one.items() if name in stored} for one in row]
    typed = [row for row in holding(asked, widths[0], model_type) if "model_types" in row]
    evaluates = typed[0].get("backend", asked) if typed else asked
    names = {row["format"] for row in table()[evaluates]} - (set() if not mixed else {"gptq", "awq"})
    reads = {}
    for name in sorted(names):
        found = first(evaluates, name)
        if found and all(row["format"] == name for row in found):
            reads[name] = found[0].get("flags", [])
    return exported, evaluates, sorted(reads.items())


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_what_runs_is_in_the_key(seed: int) -> None:
    for cell in cells(1500, seed):
        backend, asked, form, method, scheme, model_type = cell
        given = settings(backend, asked, form)
        found = spec.evaluate_spec(given, "tiny", "text", method, scheme, "perplexity", model_type)
        rows, evaluates, reads = runs(cell)
        assert found["rows"] == rows, cell
        assert found["backend"] == evaluates, cell
        assert sorted(found["serves"].items()) == reads, cell
        assert f"ptqbench.evaluation.backends.{evaluates.partition('-')[0]}" in reach.evaluation(found)
        assert {row["format"] for row in rows} <= {name.rpartition(".")[2] for name in reach.formats(found)}


def test_a_checkpoint_of_a_backend_is_read_by_what_evaluates_there() -> None:
    """For every model type: none is refused because its backend has not got it, as the table says who evaluates it."""
    for backend, method, scheme, model_type in product(BACKENDS, METHODS, SCHEMES, TYPES):
        (rows, _, reads) = runs((backend, backend, "auto", method, scheme, model_type))
        if rows:
            assert rows[0]["format"] in dict(reads) or (rows[0]["format"], "a8" in method) == ("dense", True)
        elif method == "plain":
            raise AssertionError(f"{backend} serves no {scheme} of a {model_type}")


def test_the_plan_the_export_and_the_evaluation_agree() -> None:
    """What the plan accepts, export chooses from an undecided spec too, and the stage of evaluation reads."""
    accepted = 0
    for cell in cells(600, seed=7):
        backend, asked, form, method, scheme, model_type = cell
        given, names = settings(backend, asked, form), ("tiny", "text", method, scheme)
        try:
            check_serving(given, names, "perplexity", model_type)
        except UserError:
            continue
        accepted += 1
        known = spec.evaluate_spec(given, *names, "perplexity", model_type)
        assert choose(known["rows"], form, model_type)["format"] in known["serves"], cell
        if undecided := spec.export_spec(given, *names)["rows"]:
            chosen = choose(undecided, form, model_type)
            assert {name: value for name, value in chosen.items() if name != "model_types"} == known["rows"][0], cell
    assert accepted > 200


def edits() -> Iterator[tuple[str, int, str, Any]]:
    """Every column of every row, with another value; None removes it."""
    others = {"format": "dense", "because": "of something else", "kernel": "another", "flags": ["--another"]}
    others |= {"backend": None, "zeros": "v2", "transform": "hadamard", "model_types": ["nobody"]}
    for backend, rows in table().items():
        for index, row in enumerate(rows[:-1]):  # the last holds for all
            for column, value in row.items():
                changed = value[1:] if column in choice.CONDITIONS else others[column]
                yield backend, index, column, changed


def test_an_edit_of_the_table_changes_the_keys_of_what_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, before = [*RARE, *cells(100 * ROUNDS, seed=1)], table()
    keys, outcomes = [key(cell) for cell in chosen], [canonical(runs(cell)) for cell in chosen]
    touched: dict[str, int] = {}
    for backend, index, column, value in edits():
        edited = copy.deepcopy(before)
        if value is None:
            edited[backend][index].pop(column)
        else:
            edited[backend][index][column] = value
        monkeypatch.setattr(choice, "table", lambda edited=edited: edited)
        monkeypatch.setitem(globals(), "table", lambda edited=edited: edited)
        reached = [cell for cell in range(len(chosen)) if backend in chosen[cell][:2]]
        for cell in reached:
            changed = canonical(runs(chosen[cell])) != outcomes[cell]
            assert (key(chosen[cell]) != keys[cell]) == changed, (backend, index, column, chosen[cell])
            touched[column] = touched.get(column, 0) + changed
    assert touched["kernel"] == 0
    assert min(count for column, count in touched.items() if column != "kernel") > 0


def test_the_stages_import_no_table() -> None:
    """They are handed what was decided: nothing that they decide themselves could be missing in their keys."""
    for stage in (evaluate, export):
        assert not {"table", "candidates", "served", "formats", "decided"} & set(vars(stage))


def test_layouts_are_read_as_the_plan_reads_them() -> None:
    for method, scheme in product(METHODS, SCHEMES):
        cell = spec.quantize_spec(settings("transformers", "transformers"), "tiny", "text", method, scheme)
        found = Layout.of(cell)
        (first, *_) = layouts(scheme, method)
        assert {name: getattr(found, name) for name in choice.CONDITIONS if name != "bits"} == {
            name: value for name, value in first.items() if name != "bits"
        }
