"""Converted models, made once for each checkpoint, peer and version of what makes them."""

import hashlib
import importlib.util
import shutil
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from bertrt_bench.peers.environments import MAIN, REQUIREMENTS
from bertrt_bench.peers.registry import Peer
from bertrt_bench.peers.remote import RemotePeer

__all__ = ["digests", "folder_of", "prepare", "size_mb"]

_CONVERTERS = ("torch", "transformers", "onnx", "onnx-ir", "onnxscript", "onnxruntime")


def digests(checkpoint: Path, calibration: Sequence[str]) -> list[bytes]:
    """What all peers' models depend on: the calibration texts and the checkpoint's files."""
    found = ["\n".join(calibration).encode()]
    for file in sorted(checkpoint.glob("*")):
        if file.suffix in (".json", ".safetensors", ".txt"):
            with file.open("rb") as stream:
                found.append(hashlib.file_digest(stream, "sha256").digest())
    return found


def folder_of(name: str, peer: Peer, sources: Sequence[bytes], root: Path) -> Path:
    """Where a peer's model goes, by a digest of `sources` and of what converts them."""
    digest = hashlib.sha256()
    for part in (*sources, *_converter(peer)):
        digest.update(hashlib.sha256(part).digest())
    return root / f"{name}-{digest.hexdigest()[:12]}"


def prepare(
    name: str, worker: RemotePeer, checkpoint: Path, calibration: Sequence[str], folder: Path
) -> Path:
    """Convert into `folder`, which is there only if that went well, instead of older ones."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        worker.prepare(checkpoint.resolve(), partial.resolve(), calibration)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    for older in folder.parent.glob(f"{name}-*"):
        if older != partial:
            shutil.rmtree(older)
    return partial.rename(folder)


def size_mb(folder: Path) -> float:
    """What a folder's files take, in MB (10^6 bytes)."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def _converter(peer: Peer) -> Iterator[bytes]:
    """The code of a peer's module, of the exporter where that is ours, and the versions."""
    modules = [peer.module, "bertrt_export"] if peer.kind == "bertrt" else [peer.module]
    for module in modules:
        spec = importlib.util.find_spec(module)
        for file in _files(spec.origin) if spec is not None and spec.origin else []:
            yield file.read_bytes()
    if peer.environment == MAIN:
        yield str([(name, metadata.version(name)) for name in _CONVERTERS if _there(name)]).encode()
    else:
        yield (REQUIREMENTS / f"{peer.environment}.txt").read_bytes()


def _files(origin: str) -> list[Path]:
    """The sources of a module, or of a whole package."""
    file = Path(origin)
    return sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]


def _there(package: str) -> bool:
    return importlib.util.find_spec(package.replace("-", "_")) is not None
