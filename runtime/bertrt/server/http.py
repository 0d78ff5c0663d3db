"""uvicorn's HTTP protocol, with limits for clients that send slowly or without end."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

__all__ = ["bounded_protocol"]

_MAX_HEADER_BYTES = 65_536


def bounded_protocol(read_timeout: float) -> type[HttpToolsProtocol]:
    """A protocol that gives a client `read_timeout` seconds for its headers, and for its body.

    What takes longer is answered with 408, headers over 64 KiB with 431, and a connection that
    sends nothing at all is closed. (uvicorn would keep all of them for ever.) A request that
    arrives in one piece, as most do, costs no timer.
    """

    class BoundedProtocol(HttpToolsProtocol):
        _timer: asyncio.TimerHandle | None = None
        _in_headers = _in_body = False
        _header_bytes = 0

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._timer = self.loop.call_later(read_timeout, transport.close)

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_timer()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self._timer is not None and not (self._in_headers or self._in_body):
                self._stop_timer()  # it has sent something
            self._header_bytes += len(data)
            super().data_received(data)
            if self._in_headers and self._header_bytes > _MAX_HEADER_BYTES:
                self._refuse(431)
            elif (self._in_headers or self._in_body) and self._timer is None:
                self._timer = self.loop.call_later(read_timeout, self._refuse, 408)

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._in_headers = True

        def on_headers_complete(self) -> None:
            self._in_headers, self._in_body = False, True
            self._header_bytes = 0
            self._stop_timer()  # the body has its own
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self._in_body = False
            self._stop_timer()
            super().on_message_complete()

        def _stop_timer(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _refuse(self, status: int) -> None:
            self._stop_timer()
            if self.transport.is_closing():
                return
            if self._in_headers or not self.cycle.response_started:
                self.transport.write(
                    STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n"
                )
            self.transport.close()

    return BoundedProtocol
