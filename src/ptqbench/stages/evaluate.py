"""One suite on one checkpoint."""

from __future__ import annotations

import importlib
from pathlib import Path

from ptqbench.devices import one_device
from ptqbench.errors import user_facing
from ptqbench.fingerprint import fingerprint
from ptqbench.locks import claim
from ptqbench.manifest import verify, versions, write_result
from ptqbench.stages.common import Meter, parser


@user_facing
def main(argv: list[str] | None = None) -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--checkpoint", type=Path, required=True, help="the exported checkpoint's manifest")
    args = arguments.parse_args(argv)
    claim(args.out)
    suite = args.spec["suite"]
    exported = verify(args.checkpoint)
    kind = f"ptqbench.evaluation.{suite['kind']}"
    with one_device() as device:
        meter = Meter(device)
        from ptqbench.evaluation.backends.transformers import NAME, Backend

        backend = Backend(Path(exported["checkpoint"]), device, args.spec["model"]["trust_remote_code"])
        rows = importlib.import_module(kind).run(backend, suite)
        result = {
            "spec": args.spec,
            "code": fingerprint(["ptqbench.stages.evaluate", kind]),
            "versions": versions(),
            "backend": NAME,
            "export": exported["format"],
            "rows": rows,
            **meter.read(),
        }
    write_result(args.out, result)


if __name__ == "__main__":
    main()
