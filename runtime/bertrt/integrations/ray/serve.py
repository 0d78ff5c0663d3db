"""Ray Serve: `bertrt serve` with as many replicas as Ray is told."""

import asyncio
import os
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from bertrt.errors import InputError, MissingDependencyError
from bertrt.integrations.ray.resources import assigned
from bertrt.integrations.threads import limit_tokenizer_threads
from bertrt.selection import BEST, Threshold, select
from bertrt.tokenizer import TextInput

try:
    from ray import serve

    from bertrt.server.app import create_app
    from bertrt.server.cli import converted, parse_models
    from bertrt.server.logs import set_up_logging
    from bertrt.server.service import Service
    from bertrt.server.settings import Settings, environment_name
except ImportError as error:
    raise MissingDependencyError(
        "bertrt on Ray Serve needs Ray Serve and bertrt's server: install them with "
        "`pip install 'bertrt[cpu,ray,serve]'`"
    ) from error

__all__ = ["app", "serve_app"]

# Settings that are Ray's to decide, and where it is told.
_OF_RAY = {
    **dict.fromkeys(("host", "port", "read_timeout"), "the http_options of Serve"),
    **dict.fromkeys(("device", "threads"), "num_gpus and num_cpus in ray_actor_options"),
    **dict.fromkeys(("drain_delay", "drain_timeout"), "graceful_shutdown_timeout_s"),
}
_API_KEY = environment_name("api_key")


class _AnyAsgi:
    """The application of the replica that it is called in: that is made when its models are there.

    `serve.ingress` copies what it is given to every replica, which a loaded model cannot be.
    """

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _acknowledge(receive, send)
            return
        replica: Any = serve.get_replica_context().servable_object
        await replica.asgi(scope, receive, send)


async def _acknowledge(receive: Any, send: Any) -> None:
    """Let the application start and stop: the replica loads and closes what it needs by itself."""
    while True:
        event = (await receive())["type"]
        await send({"type": f"{event}.complete"})
        if event == "lifespan.shutdown":
            return


class _HandleCaller:
    """Who calls through a handle: Ray cancels the call if the caller does not want it any more."""

    deadline: float | None = None

    def gone(self) -> Awaitable[None]:
        """Never returns."""
        return asyncio.get_running_loop().create_future()


class _Server:
    """What `bertrt serve` is, in a replica: its HTTP routes, its queue, its batches.

    models: a folder or hub id for each name; the first is the default.
    """

    # Ray calls it in the event loop that requests come in, before the first of them.
    def __init__(self, models: Mapping[str, str], settings: Settings) -> None:
        own = assigned()
        limit_tokenizer_threads(own.threads)
        set_up_logging(settings.log_format, settings.log_level)
        api_key = settings.api_key or os.environ.get(_API_KEY) or None
        here = replace(settings, device=own.device, threads=own.threads, api_key=api_key)
        self._service = Service(models, here)
        self._service.load_here()
        self.asgi = create_app(self._service)

    def check_health(self) -> None:
        """Raise NotReadyError where the model has stopped: Ray starts a new replica then."""
        self._service.require_ready()

    async def classify(
        self,
        texts: TextInput | Iterable[TextInput],
        top_k: int | object | None = BEST,
        *,
        threshold: Threshold | None = None,
        truncate: bool | None = None,
        model: str | None = None,
    ) -> Any:
        """Classify a text, a pair or a list of either, as `Classifier.__call__` does.

        truncate: by default as the settings say. model: one of the names; None for the default.
        Raises what that call raises, and the errors of `bertrt.server.errors`.
        """
        one = isinstance(texts, (str, tuple))
        classification = await self._service.classify(
            _checked([texts] if one else texts), _HandleCaller(), model=model, truncate=truncate
        )
        artifact = classification.model.classifier.artifact
        chosen = select(artifact.labels, artifact.activation, top_k, threshold, artifact.thresholds)
        results = chosen.of(classification.logits)
        return results[0] if one else results

    async def __del__(self) -> None:
        """Answer what is queued and stop; Ray calls it when the replica has drained."""
        if hasattr(self, "_service"):
            await self._service.close()


def _checked(texts: Any) -> list[TextInput]:
    """Texts and pairs as a list; InputError for anything else (HTTP's routes see to it too)."""
    if isinstance(texts, (bytes, dict)) or not isinstance(texts, Iterable):
        raise InputError(
            f"texts is of type {type(texts).__name__}: give a string, a pair or a list of them"
        )
    listed = list(texts)
    for position, text in enumerate(listed):
        parts = text if isinstance(text, tuple) and len(text) == 2 else (text,)
        if not all(isinstance(part, str) for part in parts):
            raise InputError(
                f"text {position} is of type {type(text).__name__}: give a string, or a pair (a "
                "tuple of two strings)"
            )
    return listed


def serve_app(
    models: str | os.PathLike[str] | Mapping[str, str],
    settings: Settings | None = None,
    *,
    deployment_options: Mapping[str, Any] | None = None,
) -> serve.Application:
    """A Ray Serve application, for `serve.run`.

    Its replicas answer all routes that `bertrt serve` has, and `handle.classify.remote(texts)`.
    Each makes batches of the requests that it gets. It takes as many threads as it has CPUs, and
    CUDA if it has a GPU, never otherwise.

    models: a folder, which must be at that path on every machine that runs a replica, or a hub id;
        several by name, of which the first is the default.
    settings: of `bertrt serve`, but for those that are Ray's. BERTRT_API_KEY in the environment of
        the replicas stands for an api_key that is not set.
    deployment_options: as `serve.deployment` takes them: num_replicas, autoscaling_config,
        ray_actor_options={"num_cpus": 2}, ... By default a replica has as many requests at a time
        as `max_concurrent_requests` allows (Ray's own default, 5, would leave batches empty).
    Raises ValueError for a setting that is Ray's, and for models without a name.
    """
    chosen = settings or Settings()
    for option in fields(Settings):
        if option.name in _OF_RAY and getattr(chosen, option.name) != option.default:
            raise ValueError(
                f"{option.name} is set, and with Ray Serve it is Ray's to decide: use "
                f"{_OF_RAY[option.name]}"
            )
    options = {
        "max_ongoing_requests": chosen.max_concurrent_requests,
        **(deployment_options or {}),
    }
    sources = {name: _absolute(source) for name, source in _named(models).items()}
    deployment = serve.deployment(name="bertrt")(serve.ingress(_AnyAsgi())(_Server))
    return deployment.options(**options).bind(sources, chosen)


def app(args: dict[str, Any]) -> serve.Application:
    """`serve_app` for the command `serve run` and for configuration files of Ray Serve.

        $ serve run bertrt.integrations.ray:app model=/models/sentiment

    args: `model`, a folder or hub id, or `models`, some by name; and any setting of `bertrt serve`
        by its name. What `serve_app` calls deployment_options stands in the file beside them, under
        `deployments`, for the deployment `bertrt`.
    Raises ValueError for an argument that there is not, or whose value is none.
    """
    given = {name: value for name, value in args.items() if value is not None}
    models = [given.pop(name) for name in ("model", "models") if name in given]
    if len(models) != 1:
        raise ValueError("give either `model`, a folder or hub id, or `models`, some by name")
    settings = {option.name: option for option in fields(Settings)}
    for name in given:
        if name not in settings:
            known = ", ".join(sorted(settings.keys() - _OF_RAY))
            raise ValueError(f"{name} is no setting of `bertrt serve`: there are {known}")
    values = {
        name: converted(
            settings[name], value if isinstance(value, (bool, list)) else str(value), name
        )
        for name, value in given.items()
    }
    return serve_app(models[0], Settings(**values))


def _named(models: Any) -> dict[str, str]:
    """Models by name; ValueError where there are none, and for a name unfit for a URL."""
    if isinstance(models, (str, os.PathLike)):
        return parse_models([os.fspath(models)])
    if not isinstance(models, Mapping) or not models:
        raise ValueError(
            f"models is {models!r}: give a folder or hub id, or some by name, as in "
            "{'sentiment': '/models/sentiment'}"
        )
    return parse_models([f"{name}={os.fspath(source)}" for name, source in models.items()])


def _absolute(model: str | os.PathLike[str]) -> str:
    """A folder that is here by its whole path: replicas need not work in the same directory."""
    folder = Path(model).expanduser()
    return str(folder.absolute()) if folder.is_dir() else os.fspath(model)
