"""QuaRot's rotations (arXiv 2404.00456): R1 a randomized Hadamard of the residual stream, R2 of each value head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ptqbench.errors import UserError
from ptqbench.linalg.orthogonal import random_hadamard
from ptqbench.linalg.rotations import Rotations
from ptqbench.methods.contracts import Facts, StreamTransform, WholeModel, parameter


@dataclass(frozen=True)
class RotationHadamard(StreamTransform):
    """``r2``: whether value heads are rotated too."""

    STRATEGY: ClassVar = "rotation"
    NEEDS: ClassVar[Facts] = {"model_weight": {}, "unturned_stream": {}, "rms_norms": {}}
    BREAKS: ClassVar[Facts] = {"unturned_stream": {}, "max_abs": {}}

    r2: bool = parameter(True)
    seed: int = parameter(0, minimum=0, maximum=4294967295)

    def rotations(self, model: WholeModel) -> Rotations:
        """Draw R1 and, where values have heads, every block's R2.

        Raises :class:`UserError` for a model that lets no rotation through.
        """
        if model.checkpoint.adapter.norms != "rms":  # of a model of the hub, whose family was not known at planning
            raise UserError(
                f"transform: a rotation needs RMSNorms with none behind a sublayer, and a model of the family "
                f"{model.checkpoint.adapter.name} has others: choose another method"
            )
        width = model.state_of(model.stream[0], {}, None).value_width if self.r2 else None
        tower: list[Tensor | None] = [None] * model.stream[0]
        seeds = (self.seed + 1 + block for block in range(len(model.stream)))
        heads = [random_hadamard(width, seed).matrix() if width else None for seed in seeds]
        r1 = random_hadamard(int(model.checkpoint.text_config["hidden_size"]), self.seed)
        return Rotations(r1, (*tower, *heads), model.stream)
