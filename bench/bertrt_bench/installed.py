"""The size of packages on disk."""

from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

__all__ = ["installed_mb"]


def installed_mb(*packages: str) -> float:
    """Megabytes (10^6 bytes) of packages and all that they require, as installed here."""
    pending, found = [*packages], dict[str, int]()
    while pending:
        name = pending.pop().lower()
        if name in found:
            continue
        distribution = metadata.distribution(name)
        files = [Path(str(distribution.locate_file(file))) for file in distribution.files or []]
        found[name] = sum(file.stat().st_size for file in files if file.is_file())
        for text in distribution.requires or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                pending.append(requirement.name)
    return sum(found.values()) / 1e6
