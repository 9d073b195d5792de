"""The environment in which a server runs, installed from its lock file unless this user has it already."""

from __future__ import annotations

from pathlib import Path

from ptqbench.errors import user_facing
from ptqbench.evaluation.environment import provide
from ptqbench.locks import claim
from ptqbench.stages.common import parser


@user_facing
def main(argv: list[str] | None = None) -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--lock", type=Path, required=True, help="every pinned package")
    args = arguments.parse_args(argv)
    claim(args.out)
    provide(args.lock, args.out)


if __name__ == "__main__":
    main()
