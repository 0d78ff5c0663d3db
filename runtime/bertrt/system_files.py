"""Small files in which the system describes itself."""

from pathlib import Path

__all__ = ["read_system_file"]


def read_system_file(path: Path) -> str | None:
    """The text of a file below /proc, /sys or the like, stripped; None where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:  # another system or kernel: what it would say is unknown
        return None
