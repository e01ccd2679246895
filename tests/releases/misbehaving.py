"""An HTTP server on this machine that serves files as badly as a test asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Manner:
    """How one path is served: well, unless something is set.

    drop: bytes after which each connection is closed; stall: bytes after which each connection says nothing more;
    times: how many requests are served so, later ones well (None: all); lie: added to Content-Length; answer: a status
    in place of the file; headers: added to a good answer.
    """

    ranges: bool = True
    drop: int | None = None
    stall: int | None = None
    times: int | None = None
    lie: int = 0
    length: bool = True
    answer: int = 200
    etag: str = '"one"'
    shift: int = 0
    change: Callable[[bytes], bytes] = bytes
    headers: dict[str, str] = field(default_factory=dict)
    location: str = ""


class Server:
    """`files` by path, `manners` by path, and `asked`: the path and Range of every request that came."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.manners: dict[str, Manner] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.closing = threading.Event()
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def close(self) -> None:
        """Stop serving, stalled connections too."""
        self.closing.set()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()

    def manner(self, path: str) -> Manner:
        """Return how this request is served, counting it."""
        found = self.manners.get(path, Manner())
        if found.times is not None:
            if found.times == 0:
                return Manner(etag=found.etag)
            found.times -= 1
        return found


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            server.asked.append((self.path, wanted))
            manner = server.manner(self.path)
            if manner.location or manner.answer != 200 or self.path not in server.files:
                self._refuse(manner)
                return
            content = manner.change(server.files[self.path])
            first = self._first(manner, wanted)
            if first is not None and first >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.end_headers()
                return
            self._send(manner, content, first)

        def _first(self, manner: Manner, wanted: str | None) -> int | None:
            tag = self.headers.get("If-Range", manner.etag)
            if wanted is None or not manner.ranges or tag != manner.etag:
                return None
            return int(wanted.removeprefix("bytes=").removesuffix("-"))

        def _refuse(self, manner: Manner) -> None:
            self.send_response(302 if manner.location else manner.answer if manner.answer != 200 else 404)
            if manner.location:
                self.send_header("Location", manner.location)
            for name, value in manner.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _send(self, manner: Manner, content: bytes, first: int | None) -> None:
            start = first or 0
            body = content[start:]
            self.send_response(200 if first is None else 206)
            if first is not None:
                end = len(content)
                self.send_header("Content-Range", f"bytes {start + manner.shift}-{end - 1}/{end}")
            if manner.length:
                self.send_header("Content-Length", str(len(body) + manner.lie))
            if manner.etag:
                self.send_header("ETag", manner.etag)
            for name, value in manner.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body[: min(manner.drop or len(body), manner.stall or len(body))])
            if manner.stall:
                while not server.closing.wait(0.05):
                    time.sleep(0)

        def log_message(self, *parts: Any) -> None:
            """Say nothing."""

    return Handler
