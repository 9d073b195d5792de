"""Artifacts on disk: a folder of files and the ``manifest.json`` that vouches for them, written last.

The manifest lists size and sha256 of every file, so that a half-written or damaged artifact is never taken for whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from ptqbench.errors import DamagedArtifact, writing
from ptqbench.locks import claim

NAME = "manifest.json"
HASHING = 4  # threads; one hashes slower than a GPU quantizes
RECORDED_PACKAGES = ("torch", "transformers", "safetensors", "compressed-tensors", "lm-eval", "vllm")


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values, equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path``; it becomes ``path`` when the block ends without an error.

    Libraries may make files of their own under that name, for this user alone: the permissions are those that umask
    gives a new file, whatever writes it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        with writing(path, temporary):
            temporary.touch()
            permissions = temporary.stat().st_mode
            yield temporary
            temporary.chmod(permissions)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def begin(manifest: Path) -> Path:
    """Claim an artifact and withdraw its older manifest before its files are touched; returns its folder."""
    claim(manifest)
    manifest.unlink(missing_ok=True)
    for leftover in manifest.parent.glob("**/.*.tmp"):
        leftover.unlink()
    return manifest.parent


def finish(manifest: Path, spec: Any, code: dict[str, str], files: list[Path], **record: Any) -> None:
    """Write the manifest of an artifact whose ``files`` are complete."""
    folder = manifest.parent
    entries = {file.relative_to(folder).as_posix(): describe(file) for file in sorted(files)}
    content = {"spec": spec, "code": code, "versions": versions(), "files": entries, **record}
    write_text(manifest, json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n")
    withdrawn(manifest).unlink(missing_ok=True)


def write_result(file: Path, content: dict[str, Any]) -> None:
    """Write an evaluation's result; a standard error may be NaN."""
    write_text(file, json.dumps(content, indent=1, sort_keys=True) + "\n")
    withdrawn(file).unlink(missing_ok=True)


def withdrawn(output: Path) -> Path:
    """Where a damaged manifest or result goes; while it is there, the workflow makes the artifact anew."""
    return output.with_suffix(".damaged")


def describe(file: Path) -> dict[str, Any]:
    """Size and sha256 of a file."""
    with open(file, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"bytes": file.stat().st_size, "sha256": digest}


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for package in RECORDED_PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def load(manifest: Path) -> dict[str, Any]:
    """Read a manifest; one that is not whole is a damaged artifact, which is named and withdrawn."""
    return _read(manifest, "files")


def read_result(file: Path) -> dict[str, Any]:
    """Read an evaluation's result, the same way."""
    return _read(file, "rows")


def verify(manifest: Path) -> dict[str, Any]:
    """Read a manifest and check every file's digest; a damaged artifact is named and withdrawn, to be made anew."""
    content = load(manifest)
    for name, expected in content["files"].items():
        file = manifest.parent / name
        if problem := _problem(file, expected, deep=True):
            raise _withdraw(manifest, file, problem)
    return content


class Verifier:
    """The digests of an artifact's files, computed by threads while others are in use already; none without it."""

    def __init__(self, manifest: Path | None) -> None:
        self._manifest, self._threads = manifest or Path(), ThreadPoolExecutor(HASHING)
        files = load(manifest)["files"] if manifest else {}
        places = {self._manifest.parent / name: expected for name, expected in files.items()}
        self._found = {file: self._threads.submit(_problem, file, expected, True) for file, expected in places.items()}

    def check(self, file: Path) -> None:
        """Wait until ``file`` is known to be whole; a damaged artifact is named and withdrawn, as by :func:`verify`."""
        if problem := self._found[file].result():
            raise _withdraw(self._manifest, file, problem)

    def __enter__(self) -> Verifier:
        return self

    def __exit__(self, *error: object) -> None:
        self._threads.shutdown(cancel_futures=True)


def withdraw_damaged(output: Path) -> str | None:
    """Cheap check (existence and size) before planning: withdraw a damaged manifest or result and say what was wrong.

    An artifact whose files are all gone was deleted, not damaged: it is made again when something needs it.
    """
    if not output.is_file():
        return None
    try:
        if output.name != NAME:
            read_result(output)
            return None
        files = load(output)["files"]
        if files and not any((output.parent / name).exists() for name in files):
            output.unlink()
            return None
        for name, expected in files.items():
            if problem := _problem(output.parent / name, expected, deep=False):
                raise _withdraw(output, output.parent / name, problem)
    except DamagedArtifact as error:
        return str(error)
    return None


def _read(file: Path, key: str) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DamagedArtifact(f"{file} is missing: snakemake makes it anew") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise _withdraw(file, file, f"is not JSON ({error})") from None
    if not isinstance(content, dict) or key not in content:
        raise _withdraw(file, file, f"lacks the key '{key}'")
    return content


def _problem(file: Path, expected: dict[str, Any], deep: bool) -> str | None:
    if not file.is_file():
        return "is missing"
    if file.stat().st_size != expected["bytes"]:
        return f"has {file.stat().st_size} bytes instead of {expected['bytes']}"
    if deep and describe(file)["sha256"] != expected["sha256"]:
        return "does not have the recorded sha256"
    return None


def _withdraw(output: Path, file: Path, problem: str) -> DamagedArtifact:
    with suppress(FileNotFoundError):  # another reader was faster
        os.replace(output, withdrawn(output))
    return DamagedArtifact(f"{file} {problem}: withdrawn, snakemake makes it anew")
