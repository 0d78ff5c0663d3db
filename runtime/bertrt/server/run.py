"""`bertrt serve`: the process, from its port to its end."""

import asyncio
import contextlib
import logging
import math
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping

import uvicorn

from bertrt.server.app import create_app
from bertrt.server.http import bounded_protocol
from bertrt.server.logs import set_up_logging
from bertrt.server.service import Service
from bertrt.server.settings import Settings

__all__ = ["serve"]

_logger = logging.getLogger("bertrt.server")

# Longer than the 60 s after which most proxies drop an idle connection: the side that closes first
# should not be the one that may be sent a request at that moment.
_KEEP_ALIVE = 75


def serve(models: Mapping[str, str], settings: Settings) -> None:
    """Serve models until a SIGTERM or SIGINT; SIGHUP loads them anew.

    models: a folder or hub id for each name; the first is the default.
    Raises OSError where the port cannot be had, and what `Classifier` raises.
    """
    set_up_logging(settings.log_format, settings.log_level)
    with _listener(settings) as listener, asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(models, settings, listener))


async def _serve(models: Mapping[str, str], settings: Settings, listener: socket.socket) -> None:
    """Answer at once (not ready), load the models, go on until a signal, drain."""
    service = Service(models, settings)
    server = _server(service)
    stopping = _Stopping(service, server)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    loading = asyncio.create_task(_load(service))
    stopped = asyncio.create_task(stopping.asked.wait())
    _logger.info("listening at %s (not ready: loading)", _url(settings.host, listener))
    try:
        await asyncio.wait({loading, stopped, serving}, return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            loading.result()
            await asyncio.wait({stopped, serving}, return_when=asyncio.FIRST_COMPLETED)
        await stopping.delay()
    finally:
        server.should_exit = True
        await serving
        stopped.cancel()
        await asyncio.wait({loading})
        await service.close()
    _logger.info("stopped")


async def _load(service: Service) -> None:
    began = time.monotonic()
    await service.load()
    _logger.info("ready after %.2f s", time.monotonic() - began)


class _Stopping:
    """What signals do: the first SIGTERM or SIGINT drains, the second ends; SIGHUP loads anew."""

    def __init__(self, service: Service, server: uvicorn.Server) -> None:
        self.asked = asyncio.Event()
        self._hurried = asyncio.Event()
        self._service, self._server = service, server
        self._delay = 0.0
        self._reloads: set[asyncio.Task[None]] = set()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._reload)

    async def delay(self) -> None:
        """Go on answering for a while after a SIGTERM: its requests soon go elsewhere."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurried.wait(), self._delay)

    def _stop(self, number: signal.Signals) -> None:
        if self.asked.is_set():
            self._server.force_exit = True
            self._hurried.set()
            return
        _logger.info("%s: answering what has come, then stopping", signal.Signals(number).name)
        self._service.draining = True
        if number == signal.SIGTERM:  # with Ctrl-C there is no load balancer to wait for
            self._delay = self._service.settings.drain_delay
        self.asked.set()

    def _reload(self) -> None:
        _logger.info("SIGHUP: loading the models anew")
        task = asyncio.get_running_loop().create_task(self._service.reload())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: `_Stopping` has them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _server(service: Service) -> uvicorn.Server:
    settings = service.settings
    return _Server(
        uvicorn.Config(
            create_app(service),
            http=bounded_protocol(settings.read_timeout),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE,
            timeout_graceful_shutdown=math.ceil(settings.drain_timeout),
        )
    )


def _listener(settings: Settings) -> socket.socket:
    """The socket to listen at, bound; OSError, which names the address, where it cannot be."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise OSError(
            f"cannot listen at {settings.host} port {settings.port}: {error.strerror or error}; "
            "choose another with --host and --port"
        ) from error
    return listener


def _url(host: str, listener: socket.socket) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{listener.getsockname()[1]}"


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's loop, which is faster, where it is installed (it does not exist for Windows)."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
