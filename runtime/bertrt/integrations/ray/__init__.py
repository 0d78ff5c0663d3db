"""Ray: `BatchClassifier` for Ray Data, `serve_app` for Ray Serve. Needs the extra `ray`."""

import importlib
from typing import TYPE_CHECKING, Any

from bertrt.errors import MissingDependencyError

try:
    import ray  # noqa: F401 -- said here, before one of Ray's own requirements is missed
except ImportError as error:
    raise MissingDependencyError(
        "bertrt.integrations.ray needs Ray: install it with `pip install 'bertrt[cpu,ray]'`"
    ) from error

if TYPE_CHECKING:
    from bertrt.integrations.ray.data import BatchClassifier
    from bertrt.integrations.ray.serve import app, serve_app

__all__ = ["BatchClassifier", "app", "serve_app"]

# Where each of these is defined: an actor that classifies batches needs nothing of Ray Serve.
_LAZY = {"BatchClassifier": "data", "app": "serve", "serve_app": "serve"}


def __getattr__(name: str) -> Any:
    """Import what is asked for at its first use."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    globals()[name] = value
    return value
