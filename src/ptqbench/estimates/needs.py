"""What one job of each rule takes: pure arithmetic on sizes.

Seconds are ``start`` (imports, reading the config), operations over a rate, and bytes over the disk's. The defaults of
the rates are from ``benchmarks/README.md``: Llama-3-8B on one H200, ``pocket-llama`` on one core. Memory and disk
follow from what the stages hold and write; ``benchmarks/results/estimates*.csv`` have them beside what was measured,
and a test holds them together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ptqbench.estimates.sizes import Size
from ptqbench.recipe import Recipe
from ptqbench.schemes import is_integer, scale_bytes

FLOAT = 4  # bytes
BATCH = 8  # sequences, or windows, of a forward pass
PROPAGATED = 2.5  # passes over the calibration tokens, of a method that runs the model behind what is quantized
# passes besides, of members that train or compare
PASSES = {"gptaq": 6.0, "signround": 30.0, "learned": 46.0, "rotation_learned": 1.3, "magr": 3.0}
TASK_TOKENS = 48  # of a request with its choices
TASK_DOCUMENTS = 1000  # of a task without a limit
IMAGE_TOKENS = 640  # of a question with its image
SERVED = 60.0  # seconds until a server answers
TOKENIZED = 4e-6  # seconds of a token


@dataclass(frozen=True)
class Host:
    """A machine: ``gpu`` or not, operations a second of one job, bytes a second of its disk, seconds until a job works.

    ``driver`` are bytes of host memory that a GPU's driver takes of each job that uses it, ``built`` those by which a
    torch that was built for GPUs is larger.
    """

    gpu: bool
    rate: float
    disk: float
    start: float
    driver: float = 0.0
    built: float = 0.0


GPU = Host(True, 4e14, 4e9, 6.0, 2.5e9, 2.7e8)  # an H200 in bfloat16
CPU = Host(False, 6e10, 1e9, 4.0)  # one job's share of two cores
BARE, TORCH, MODELS = 2.5e8, 4e8, 6.3e8  # bytes of what jobs import: little, torch, transformers too
TEXTS = 1e8  # bytes of a suite's texts while they are cut into tokens
HELD = {"perplexity": 0, "fidelity": 1}  # batches of logits that are there when the model makes its own


class Shown(NamedTuple):
    """What a calibration set shows."""

    samples: int
    length: int  # tokens of one

    @property
    def tokens(self) -> int:
        """Of all."""
        return self.samples * self.length

    @property
    def batch(self) -> int:
        """Tokens of a micro-batch."""
        return min(self.samples, BATCH) * self.length


@dataclass(frozen=True)
class Need:
    """A job: its fixed seconds, operations, bytes read and written; peaks of memory; bytes that it leaves on disk."""

    start: float
    operations: float = 0.0
    moved: float = 0.0
    host: float = 0.0
    gpu: float = 0.0
    disk: float = 0.0

    def seconds(self, machine: Host) -> float:
        """How long it takes."""
        return self.start + self.operations / machine.rate + self.moved / machine.disk


def on_device(machine: Host, start: float, imported: float, work: float, **rest: float) -> Need:
    """A job whose ``work`` (bytes) is on the GPU where there is one."""
    host, gpu = (imported + machine.driver, work) if machine.gpu else (imported + work, 0.0)
    return Need(start, host=host, gpu=gpu, **rest)


def prepare(machine: Host) -> Need:
    """A look at a local model."""
    return Need(machine.start, host=MODELS)


def calibrate(machine: Host, shown: Shown) -> Need:
    """Tokens of a calibration set."""
    return Need(machine.start, host=MODELS, disk=2.0 * shown.tokens, operations=TOKENIZED * machine.rate * shown.tokens)


def statistics(size: Size, machine: Host, shown: Shown) -> Need:
    """A pass over all blocks with the products of what each site reads; triangles of them are stored.

    The triangles of one block are still on their way to the disk while those of the next are taken out of its sums.
    """
    products = sum(site.channels**2 for site in size.inputs) * shown.tokens
    vectors = 4 * sum(site.channels for site in size.inputs)
    stored = FLOAT * (sum(site.channels * (site.channels + 1) // 2 for site in size.inputs) + vectors)
    work = block_run(size, machine, shown) + FLOAT * 2 * size.block_hessians
    moved = size.file_bytes + stored
    operations = forward(size, shown.tokens) + products
    return on_device(machine, machine.start, MODELS, work, disk=stored, operations=operations, moved=moved)


def block_run(size: Size, machine: Host, shown: Shown) -> float:
    """Bytes to run blocks one by one over all tokens: two blocks, the hidden states, one micro-batch within a block.

    Experts are there twice, one by one and fused.
    """
    itemsize = 2 if machine.gpu else FLOAT
    weights = itemsize * (2 * size.block_elements + size.block_experts + size.outside)
    return weights + itemsize * (shown.tokens * size.hidden + shown.batch * (3 * size.widest + 4 * size.hidden))


def quantize(size: Size, machine: Host, recipe: Recipe, scheme: dict[str, Any], shown: Shown) -> Need:
    """Rounding every block, and whatever its members run the model for."""
    rounded = sum(math.prod(shape) * site.channels for site in size.sites for shape in site.linears)
    factored = 2 * sum(site.channels**3 for site in size.sites) if recipe.reads_statistics else 0
    runs = passes(recipe) + (4.0 if scheme["bits"] == "mixed" else 0.0)
    work = rounding_memory(size, scheme)
    if runs:
        work += block_run(size, machine, shown)
    moved = size.file_bytes + FLOAT * sum(site.channels**2 // 2 for site in size.inputs)
    operations = 5.0 * (rounded + factored) if machine.gpu else 2.0 * (rounded + factored)
    operations += runs * forward(size, shown.tokens)
    left, imported = codes(size, recipe, scheme), MODELS if runs else TORCH
    return on_device(machine, machine.start, imported, work, disk=left, operations=operations, moved=moved)


def rounding_memory(size: Size, scheme: dict[str, Any]) -> float:
    """Bytes to round a block: its weights and Hessians in float32, the next block as stored, the codes of two blocks.

    Beside them are the factor and the weights of the widest site, or, in a mixture with its many Hessians rather more,
    the block before it, which is there until this one is.
    """
    block = FLOAT * (size.block_elements + size.block_hessians)
    following = size.itemsize * size.block_elements + FLOAT * size.block_hessians / 2
    written = size.block_elements * (2 + width(scheme) / 8)  # a byte each, and a block's bit streams
    return block + following + written + max(2.5 * FLOAT * size.widest**2, block - size.block_elements)


def codes(size: Size, recipe: Recipe, scheme: dict[str, Any]) -> float:
    """Bytes of a cell's codes as the chain stores them: bit streams, float32 scales and a byte of each zero-point."""
    bits, group = width(scheme), scheme["group_size"]
    found = 0.0
    for site in size.sites:
        for m, n in site.linears:
            groups = m * (n // group if group > 0 else 1)
            found += FLOAT * m * math.ceil(n * bits / 32) + groups * (FLOAT + is_integer(scheme))
    turned = turns(recipe)
    return found + (FLOAT * size.outside if turned else 0)


def export(size: Size, machine: Host, scheme: dict[str, Any], form: str, untied: bool) -> Need:
    """A checkpoint folder: codes that are mapped from four blocks' files, or as many as two shards hold.

    Where a format has another layout, what is written of the two is made anew.
    """
    written = packed(size, scheme, form) + (size.vocabulary * size.hidden * size.itemsize if untied else 0)
    shards = min(size.file_bytes, 2 * size.largest_file)
    mapped = min(size.file_bytes, max(4 * size.itemsize * size.block_elements, shards))
    copied = 0 if form == "compressed_tensors" else shards
    work = (mapped + copied) * written / size.file_bytes + size.itemsize * size.outside
    host = BARE + machine.built + work
    return Need(machine.start / 2, moved=3 * written, host=host, disk=written)  # without transformers


def packed(size: Size, scheme: dict[str, Any], form: str) -> float:
    """Bytes of a checkpoint: codes, a scale and a zero-point of each group, and the rest as it was."""
    bits, group = width(scheme), scheme["group_size"]
    rest = size.file_bytes - size.itemsize * size.linears + size.other_bytes
    if form == "dense":
        return rest + size.itemsize * size.linears
    found = 0.0
    for site in size.sites:
        for m, n in site.linears:
            groups = m * (n // group if group > 0 else 1)
            found += FLOAT * m * math.ceil(n * bits / 32) + groups * scale_bytes(scheme, size.itemsize)
            found += 0 if scheme["symmetric"] else groups * bits / 8
    return rest + found


def evaluate(size: Size, machine: Host, suite: dict[str, Any], served: bool) -> Need:
    """A suite on a whole model in memory: a batch within a block, or its logits, beside those it is compared with.

    Experts of a mixture are run side by side on as many rows as their tokens have experts.
    """
    length, kind = window(size, suite), suite["kind"]
    itemsize = 2 if machine.gpu else FLOAT
    batch = suite.get("batch_size", BATCH) * length if kind in HELD else 4096
    logits = itemsize * batch * size.vocabulary
    wide = 4 * size.experts_per_token if size.experts_per_token else 3
    within = itemsize * batch * (wide * size.widest + 4 * size.hidden)
    rows = 3 * FLOAT * length * size.vocabulary  # of one window, in float32
    held = HELD.get(kind, 0)
    work = itemsize * size.parameters + held * logits + max(within, logits + rows)
    operations = 2.0 * size.parameters * evaluated(suite, length)
    start = SERVED if served else machine.start + 2.0
    return on_device(machine, start, MODELS + TEXTS, work, operations=operations, moved=float(size.file_bytes))


def reference(size: Size, machine: Host, suite: dict[str, Any]) -> Need:
    """The float model's last hidden states on the windows of a suite, and their tokens."""
    disk = evaluated(suite, window(size, suite)) * (size.hidden * (2 if machine.gpu else FLOAT) + FLOAT)
    made = evaluate(size, machine, {**suite, "kind": "perplexity"}, served=False)
    head = size.vocabulary * size.hidden * (2 if machine.gpu else FLOAT)
    grown = {"gpu": made.gpu + head} if machine.gpu else {"host": made.host + head}
    return replace(made, disk=disk, **grown)


def window(size: Size, suite: dict[str, Any]) -> int:
    """Tokens of a suite's windows."""
    return int(suite.get("window") or min(size.context or 2048, 2048))


def evaluated(suite: dict[str, Any], length: int) -> float:
    """Tokens of a suite, as far as its line tells."""
    limit = suite.get("limit")
    if suite["kind"] in ("perplexity", "fidelity"):
        return float(len(suite["corpora"]) * (limit or 256) * length)
    if suite["kind"] == "images":
        return float(len(suite["questions"]) * (limit or TASK_DOCUMENTS) * IMAGE_TOKENS)
    return float(len(suite.get("tasks", ())) * (limit or TASK_DOCUMENTS) * TASK_TOKENS)


def forward(size: Size, tokens: int) -> float:
    """Operations of a pass over the tokens."""
    return 2.0 * size.linears * tokens


def turns(recipe: Recipe) -> bool:
    """Whether a rotation of the residual stream may untie a model's head."""
    return any(member.name.startswith("rotation") for member in recipe.transforms)


def passes(recipe: Recipe) -> float:
    """Runs of the model over the calibration tokens that quantizing takes."""
    trained = sum(PASSES.get(member.name, 0.0) for _, member in recipe.members)
    return trained + (PROPAGATED if recipe.propagate else 0.0)


def width(scheme: dict[str, Any]) -> float:
    """Bits of a scheme; a mixed one's budget."""
    return float(scheme["budget"] if scheme["bits"] == "mixed" else scheme["bits"])
