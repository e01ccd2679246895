"""One file from one URL into a `.part`, resumed after any interruption.

It uses urllib, which supports ranges, redirects, proxies, certificates and timeouts, so that no dependency is needed.
A `.part.json` beside each `.part` identifies its file, so that two files are never joined: a part is resumed only from
the same URL, only if the server confirms that the file is the same (If-Range), and only if its total size is the same.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from jukebox_kit._files import explain
from jukebox_kit.errors import CheckpointError

CHUNK = 1 << 20

PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})  # answers that may be different at the next attempt

Amount = Callable[[int, "int | None"], None]  # bytes received, bytes in total if known


class PlaceError(Exception):
    """A place cannot provide a file; the message is the reason. It stays in this package: the next place is tried."""


class UnreachableError(PlaceError):
    """A place does not answer at all, so that it is not asked for the next file."""


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server.

    timeout: seconds without a byte after which a connection counts as dropped.
    attempts: consecutive connections without new bytes after which the place is given up.
    wait: seconds before the second of them, doubled for each further one up to 30.
    """

    timeout: float = 30.0
    attempts: int = 5
    wait: float = 1.0


@dataclass(frozen=True)
class Source:
    """A file at a URL: its size in bytes if it is known, and whether it must look like weights."""

    url: str
    size: int | None = None
    weights: bool = True


class Download:
    """A download. `promised` is the md5 or sha256 that the server announced."""

    def __init__(
        self, source: Source, part: Path, patience: Patience, progress: Amount, room: Callable[[int], None]
    ) -> None:
        """Resume `part` if it is from this URL. room: called with the missing bytes; raises if they do not fit."""
        self.source, self.part, self.patience, self.progress, self.room = source, part, patience, progress, room
        self.beside = part.with_name(part.name + ".json")
        self.redirects = _Redirects()
        self.opener = build_opener(self.redirects)
        self.have, self.validator, self.answered = 0, "", False
        self.total: int | None = None
        self.promised: dict[str, str] = {}
        self._take_up()

    def run(self) -> Mapping[str, str]:
        """Download the whole file to the part, and return the hashes that the server announced.

        Raises PlaceError if this place cannot provide it (received data is kept and can be resumed), CheckpointError
        if the disk cannot hold it.
        """
        best, idle = self.have, 0
        while True:
            reason = None if self.total is not None and self.have == self.total else self._attempt()
            if reason is None:
                return self.promised
            best, idle = (self.have, 0) if self.have > best else (best, idle + 1)
            if idle >= (self.patience.attempts if self.answered else min(2, self.patience.attempts)):
                raise (PlaceError if self.answered else UnreachableError)(reason)
            if idle:
                time.sleep(min(30.0, self.patience.wait * 2 ** (idle - 1)))

    def _attempt(self) -> str | None:
        """Open one connection and receive data; return None if the file is complete, else the reason."""
        try:
            with self.opener.open(self._request(), timeout=self.patience.timeout) as response:
                self.answered = True
                return self._take(response)
        except HTTPError as error:
            with error:
                self.answered = True
                return self._refused(error)
        except TimeoutError:
            return f"no data arrived for {self.patience.timeout:g} seconds"
        except URLError as error:
            return f"it cannot be reached ({_short(error.reason)})"
        except (http.client.HTTPException, OSError) as error:
            return f"the connection broke ({_short(error)})"

    def _request(self) -> Request:
        headers = {"User-Agent": "jukebox-kit", "Accept-Encoding": "identity"}
        if self.have:
            headers["Range"] = f"bytes={self.have}-"
            headers |= {"If-Range": self.validator} if self.validator else {}
        return Request(self.source.url, headers=headers)

    def _refused(self, error: HTTPError) -> str | None:
        if error.code == 416 and self.have:
            whole = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
            if whole and int(whole[1]) == self.have:  # the size announced before was wrong, and the file is complete
                return None
            self._start_over()
            return "it does not have the requested range"
        if error.code in PASSING:
            return f"it answered {error.code} {error.reason}"
        raise PlaceError(f"it answered {error.code} {error.reason}")

    def _take(self, response: Any) -> str | None:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise PlaceError("it sends the file in an encoding that was not requested")
        if response.status == 206:
            whole = self._goes_on(response.headers)
            if whole is None:
                self._start_over()
                return "it answered with a different range from the one requested"
            self.total = whole
        else:
            self._start_over()
            length = response.headers.get("Content-Length", "")
            self.total = int(length) if length.isdigit() else self.source.size
        self._note(response.headers, response.status)
        if self.source.size is not None and self.total not in (None, self.source.size):
            raise PlaceError(f"it has {self.total} bytes instead of the expected {self.source.size}")
        self.room((self.total or 0) - self.have)
        self._receive(response)
        if self.total is None or self.have == self.total:
            return None
        return f"the connection ended after {self.have} of {self.total} bytes"

    def _goes_on(self, headers: Mapping[str, str]) -> int | None:
        """Return the whole file's size if an answer continues the same file as the part."""
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", headers.get("Content-Range", ""))
        if found is None or int(found[1]) != self.have or _validator(headers) not in ("", self.validator):
            return None
        return int(found[2]) if self.total in (None, int(found[2])) else None

    def _receive(self, response: Any) -> None:
        with self._opened() as file:
            if not self.have and self.source.weights:
                head = response.read(64)
                if not looks_like_weights(head):
                    raise PlaceError(f"what it sends is not a checkpoint but starts with {head[:24]!r}")
                self._write(file, head)
            while chunk := response.read1(CHUNK):
                self._write(file, chunk)
            try:
                file.flush()
                os.fsync(file.fileno())
            except OSError as error:
                raise CheckpointError(explain(self.part, error, "written")) from None

    def _write(self, file: IO[bytes], chunk: bytes) -> None:
        try:
            file.write(chunk)
        except OSError as error:
            raise CheckpointError(explain(self.part, error, "written")) from None
        self.have += len(chunk)
        self.progress(self.have, self.total)

    def _opened(self) -> IO[bytes]:
        try:
            return self.part.open("ab", buffering=0)
        except OSError as error:
            raise CheckpointError(explain(self.part, error, "written")) from None

    def _note(self, headers: Mapping[str, str], status: int) -> None:
        """Save what identifies this file, and the hashes that the server announces."""
        self.validator = _validator(headers) or self.validator
        md5 = headers.get("x-ms-blob-content-md5") or (headers.get("Content-MD5") if status == 200 else None)
        if md5 and re.fullmatch(r"[A-Za-z0-9+/]{22}==", md5):
            self.promised["md5"] = base64.b64decode(md5).hex()
        linked = self.redirects.linked.strip('"')  # the hub announces the sha256 of a file to which it redirects
        if re.fullmatch(r"[0-9a-f]{64}", linked):
            self.promised["sha256"] = linked
        known = {"url": self.source.url, "validator": self.validator, "total": self.total, "promised": self.promised}
        try:
            self.beside.write_text(json.dumps(known), encoding="utf-8")
        except OSError as error:
            raise CheckpointError(explain(self.beside, error, "written")) from None

    def _take_up(self) -> None:
        """Resume the part of an earlier run, or remove it if it may belong to another file."""
        try:
            known = json.loads(self.beside.read_text(encoding="utf-8"))
            same = known["url"] == self.source.url and known["validator"]
            size = self.part.stat().st_size
            if same and (known["total"] is None or size <= known["total"]):
                self.have, self.total, self.validator = size, known["total"], known["validator"]
                self.promised = dict(known["promised"])
                return
        except (OSError, ValueError, KeyError, TypeError):
            pass
        self._start_over()

    def _start_over(self) -> None:
        discard(self.part)
        self.have, self.total, self.validator, self.promised = 0, None, "", {}


class _Redirects(HTTPRedirectHandler):
    """Follows redirects, but never from https to anything else, and keeps the hash that the hub announces."""

    linked = ""

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        """See the base class."""
        fp.close()
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise PlaceError(f"it redirects to {newurl}, without encryption")
        self.linked = headers.get("X-Linked-ETag") or self.linked
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def looks_like_weights(head: bytes) -> bool:
    """Return whether a file's first bytes are those of a zip, of a torch pickle, or of a safetensors file."""
    header = int.from_bytes(head[:8], "little")
    return head.startswith((b"PK\x03\x04", b"\x80\x02")) or (head[8:9] == b"{" and header < 100_000_000)


def discard(part: Path) -> None:
    """Remove a part and its notes, if they exist."""
    try:
        for path in (part, part.with_name(part.name + ".json")):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise CheckpointError(explain(part, error, "removed")) from None


def _validator(headers: Mapping[str, str]) -> str:
    """Return the value of If-Range: a strong ETag, else the time of the last change, else nothing."""
    tag = headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")


def _short(reason: object) -> str:
    return " ".join(str(reason).split())[:100] or type(reason).__name__
