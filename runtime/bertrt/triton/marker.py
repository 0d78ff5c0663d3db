"""What a repository says of itself: by this file it is known, and checked in service."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bertrt.artifact import fingerprint
from bertrt.errors import ArtifactError
from bertrt.model_files import read_json
from bertrt.triton.configs import Deployment
from bertrt.version import __version__

__all__ = ["MARKER", "Marker", "marker_of", "read_marker"]

MARKER = "bertrt-triton.json"

_FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Marker:
    """name: the ensemble. sha256: the artifact's fingerprint. golden: as in bertrt.json."""

    name: str
    precision: str
    bertrt_version: str
    sha256: str
    golden: list[dict[str, Any]]
    format_version: int = _FORMAT_VERSION

    def to_json(self) -> str:
        """The content of the file."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"


def marker_of(deployment: Deployment) -> Marker:
    """The marker of what is served."""
    artifact, precision = deployment.artifact, deployment.precision
    assert artifact.manifest is not None, "a packed artifact has one"
    return Marker(
        name=deployment.name,
        precision=precision,
        bertrt_version=__version__,
        sha256=fingerprint(artifact, precision),
        golden=[
            {"text": golden["text"], "logits": {precision: golden["logits"][precision]}}
            for golden in artifact.manifest["golden"]
        ],
    )


def read_marker(folder: Path) -> Marker:
    """The marker of a repository; ArtifactError where there is none that this version reads."""
    content = read_json(folder, MARKER, "is this a folder that `bertrt triton-repository` wrote?")
    try:
        marker = Marker(**content)
    except TypeError as error:
        raise ArtifactError(
            f"{folder / MARKER} is incomplete: write the repository anew"
        ) from error
    if marker.format_version != _FORMAT_VERSION:
        raise ArtifactError(
            f"{folder / MARKER} has format {marker.format_version} and this bertrt reads "
            f"{_FORMAT_VERSION}: write the repository anew, or upgrade bertrt"
        )
    return marker
