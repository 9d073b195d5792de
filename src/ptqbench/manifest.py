"""Artifacts on disk: a folder of files and the ``manifest.json`` that vouches for them, written last.

The manifest is a record (:mod:`ptqbench.sealed`) with size and sha256 of every file, so that a half-written or damaged
artifact is never taken for whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar, overload

from ptqbench import sealed
from ptqbench.errors import DamagedArtifact, short
from ptqbench.locks import claim
from ptqbench.records import File, Key, Manifest, Result
from ptqbench.sealed import discard, withdraw, withdrawn

NAME = "manifest.json"
HASHING = min(8, os.cpu_count() or 1)  # threads; one hashes slower than a GPU quantizes
RECORDED_PACKAGES = ("torch", "transformers", "safetensors", "compressed-tensors", "lm-eval", "vllm")

Kind = TypeVar("Kind", bound=Manifest)


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values, equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def key(spec: Any, code: dict[str, str], sources: Iterable[str] = (), **inputs: Path | None) -> Key:
    """What an output follows from: ``inputs`` are manifests, ``sources`` local files (what is none is the hub's)."""
    return {
        "spec": spec,
        "code": code,
        "versions": versions(),
        "inputs": {name: identity(load(manifest)) for name, manifest in inputs.items() if manifest},
        "sources": {name: describe(Path(name))["sha256"] for name in sorted(sources) if Path(name).is_file()},
    }


def identity(content: Manifest) -> str:
    """The digest of an artifact's key and files: equal for one that is made again with equal bytes."""
    parts = {name: content[name] for name in (*Key.__annotations__, "files")}  # type: ignore[literal-required]
    return hashlib.sha256(canonical(parts).encode()).hexdigest()


def begin(manifest: Path, made: Key) -> Path | None:
    """Claim an artifact and withdraw its older manifest before its files are touched; returns its folder.

    None where the artifact is whole and fits: a process that outlived its run made it while this one waited.
    """
    claim(manifest)
    if is_made(manifest, made, Manifest):
        return None
    discard(manifest)
    discard(dropped(manifest))
    for leftover in manifest.parent.glob("**/.*.tmp"):
        discard(leftover)
    return manifest.parent


def is_made(output: Path, made: Key, kind: type[Key]) -> bool:
    """Whether a manifest or result is there, whole, and follows from what its maker would start from now."""
    if not sealed.fits(output, kind):
        return False
    content: Any = sealed.read(output, kind)
    if any(content[name] != made[name] for name in Key.__annotations__):  # type: ignore[literal-required]
        return False
    files: dict[str, File] = {} if dropped(output).exists() else content.get("files", {})
    if any(_problem(output.parent / name, expected, deep=True) for name, expected in files.items()):
        return False
    discard(withdrawn(output))
    return True


def dropped(manifest: Path) -> Path:
    """The mark of an artifact whose files were dropped on request (:mod:`ptqbench.dropping`) and whose record stays."""
    return manifest.with_suffix(".dropped")


def finish(manifest: Path, kind: type[Kind], made: Key, files: list[Path], **record: Any) -> None:
    """Write the manifest of an artifact whose ``files`` are complete."""
    with ThreadPoolExecutor(HASHING) as threads:
        found = zip(sorted(files), threads.map(describe, sorted(files)), strict=True)
        entries = {file.relative_to(manifest.parent).as_posix(): entry for file, entry in found}
    json.dumps(record, allow_nan=False)  # a loss that is no number is an error here, a result's standard error is not
    sealed.write(manifest, {**made, "files": entries, **record}, kind)


def write_result(file: Path, content: dict[str, Any]) -> None:
    """Write an evaluation's result; a standard error may be NaN."""
    sealed.write(file, content, Result)


def describe(file: Path) -> File:
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


@overload
def load(manifest: Path) -> Manifest: ...
@overload
def load(manifest: Path, kind: type[Kind]) -> Kind: ...
def load(manifest: Path, kind: type[Any] = Manifest) -> Any:
    """Read a manifest; one that is not whole, or of another kind, is named and withdrawn."""
    return sealed.read(manifest, kind)


def read_result(file: Path) -> Result:
    """Read an evaluation's result, the same way."""
    return sealed.read(file, Result)


@overload
def verify(manifest: Path) -> Manifest: ...
@overload
def verify(manifest: Path, kind: type[Kind]) -> Kind: ...
def verify(manifest: Path, kind: type[Any] = Manifest) -> Any:
    """Read a manifest and check every file's digest; a damaged artifact is named and withdrawn, to be made anew."""
    content = sealed.read(manifest, kind)
    with Verifier(manifest) as files:
        for name in content["files"]:
            files.check(manifest.parent / name)
    return content


class Verifier:
    """The digests of an artifact's files, computed by threads while others are in use already; none without it."""

    def __init__(self, manifest: Path | None) -> None:
        self._manifest, self._threads = manifest or Path(), ThreadPoolExecutor(HASHING)
        if manifest and dropped(manifest).exists():
            discard(dropped(manifest))
            raise withdraw(
                manifest, manifest.parent, "was dropped (`keep` in the config), and something reads it again"
            )
        files = load(manifest)["files"] if manifest else {}
        places = {self._manifest.parent / name: expected for name, expected in files.items()}
        self._found = {file: self._threads.submit(_problem, file, expected, True) for file, expected in places.items()}

    def check(self, file: Path) -> None:
        """Wait until ``file`` is known to be whole; a damaged artifact is named and withdrawn, as by :func:`verify`."""
        if problem := self._found[file].result():
            raise withdraw(self._manifest, file, problem)

    def __enter__(self) -> Verifier:
        return self

    def __exit__(self, *error: object) -> None:
        self._threads.shutdown(cancel_futures=True)


def withdraw_damaged(output: Path, kind: type[Any]) -> str | None:
    """Cheap check (digest and type of a record, size of files) before planning: withdraw what is damaged and say why.

    An artifact whose files are all gone was deleted, not damaged: it is made again when something needs it.
    """
    if not os.path.lexists(output):
        return None
    try:
        files: dict[str, File] = sealed.read(output, kind).get("files", {})
        if dropped(output).exists():
            return None
        if files and not any(os.path.lexists(output.parent / name) for name in files):
            output.unlink()
            return None
        for name, expected in files.items():
            if problem := _problem(output.parent / name, expected, deep=False):
                raise withdraw(output, output.parent / name, problem)
    except DamagedArtifact as error:
        return short(error)
    return None


def _problem(file: Path, expected: File, deep: bool) -> str | None:
    if not file.is_file():
        return "is no file" if os.path.lexists(file) else "is missing"
    if file.stat().st_size != expected["bytes"]:
        return f"has {file.stat().st_size} bytes instead of {expected['bytes']}"
    if deep and describe(file)["sha256"] != expected["sha256"]:
        return "does not have the recorded sha256"
    return None
