"""One suite on one checkpoint."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

from ptqbench.devices import one_device
from ptqbench.errors import user_facing
from ptqbench.fingerprint import fingerprint
from ptqbench.manifest import verify, versions, write_text
from ptqbench.stages.common import Meter, parser


@user_facing
def main(argv: list[str] | None = None) -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--checkpoint", type=Path, required=True, help="the exported checkpoint's manifest")
    args = arguments.parse_args(argv)
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
    write_text(args.out, json.dumps(result, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
