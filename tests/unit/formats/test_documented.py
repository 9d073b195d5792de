"""The table of docs/serving.md says what ``choice.yaml`` says."""

from __future__ import annotations

from clone import REPOSITORY

from ptqbench.formats.choice import formats
from ptqbench.formats.layout import Layout

NAMES = {"compressed_tensors": "compressed-tensors"}
BACKENDS = ("vllm-cuda", "vllm-cpu", "transformers")


def documented() -> str:
    """Markdown of every scheme's formats on every backend, in the order in which ``auto`` takes them."""
    lines = [f"| scheme | {' | '.join(f'`{name}`' for name in BACKENDS)} |", "|---" * (1 + len(BACKENDS)) + "|"]
    for bits in range(2, 9):
        for symmetric in (True, False):
            for group_size in (128, -1):
                layout = Layout(bits, group_size, symmetric)
                scheme = f"{bits} bits {'symmetric' if symmetric else 'asymmetric'}{', channel' * (group_size < 0)}"
                lines.append(row(scheme, layout))
    lines.append(row("8 bits symmetric, channel, int8 activations", Layout(8, -1, True, "int8")))
    lines.append(row("mixed of 2, 3 and 4 bits symmetric", Layout(4, 128, True, widths=(2, 3, 4))))
    lines.append(row("mixed of 2, 3 and 4 bits asymmetric", Layout(4, 128, False, widths=(2, 3, 4))))
    lines.append(row("mixed of 4 and 8 bits, either", Layout(8, 128, False, widths=(4, 8))))
    assert row("", Layout(8, 128, False, widths=(4, 8))) == row("", Layout(8, 128, True, widths=(4, 8)))
    return "\n".join(lines)


def row(scheme: str, layout: Layout) -> str:
    lists = (", ".join(NAMES.get(name, name) for name in formats(backend, layout)) for backend in BACKENDS)
    return f"| {scheme} | {' | '.join(lists)} |"


def test_the_documentation_has_the_table() -> None:
    page = (REPOSITORY / "docs/serving.md").read_text(encoding="utf-8")
    assert page.split("<!-- formats -->\n")[1].split("\n<!-- /formats -->")[0] == documented()
