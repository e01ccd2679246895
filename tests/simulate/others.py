"""What is kept beside songs: the saves of a training run, downloads, and tasks of an album."""

from __future__ import annotations

import hashlib
import io
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock
from urllib.error import URLError

import torch

from jukebox_kit._files import exists, make_folder
from jukebox_kit.errors import CheckpointError, JukeboxKitError
from jukebox_kit.jobs.album import AlbumSettings
from jukebox_kit.jobs.album.schedule import Task
from jukebox_kit.jobs.album.worker import TaskWorker
from jukebox_kit.model.weights.download.disk import alone
from jukebox_kit.model.weights.download.http import Patience
from jukebox_kit.model.weights.download.sources import DownloadOptions, Places
from jukebox_kit.song import normalise_request
from jukebox_kit.training.checkpoints import Checkpoints, RunState
from tests.simulate.history import Step
from tests.simulate.machines import Machine

if TYPE_CHECKING:
    from tests.simulate.play import Player

MODELS = Path("/sim/home/models")

NAME = "artists.txt"

CONTENT = b"".join(b"artist %d;%d\n" % (n, n) for n in range(60))

OTHER = bytes(reversed(CONTENT))  # what a server may have under the same name


def state_at(step: int) -> RunState:
    """Return what a training run depends on after so many steps."""
    return RunState({"weights": torch.arange(40) * step, "moments": torch.full((3,), float(step))}, {"step": step})


class Server:
    """A server of one file whose connections break off, and which may have another file for a while."""

    def __init__(self, player: Player, number: int) -> None:
        self.world, self.content = player.world, OTHER if number % 5 == 0 else CONTENT

    def open(self, request: Any, timeout: float) -> Any:
        chance = self.world.chance
        self.world.spend(chance.choice((0.1, 1.0)))
        if chance.random() < 0.2:
            raise URLError("no route")
        begin = 0
        tag = hashlib.sha256(self.content).hexdigest()[:8]
        wanted = request.get_header("Range", "")
        if wanted and request.get_header("If-range", tag) == tag:
            begin = int(wanted.removeprefix("bytes=").rstrip("-"))
        sent = self.content[begin:]
        if chance.random() < 0.5:
            sent = sent[: chance.randint(0, len(sent))]
        headers = {"ETag": tag, "Content-Length": str(len(self.content) - begin)}
        if begin:
            headers["Content-Range"] = f"bytes {begin}-{len(self.content) - 1}/{len(self.content)}"
        return _Response(sent, headers, 206 if begin else 200)


class _Response(io.BytesIO):
    def __init__(self, content: bytes, headers: dict[str, str], status: int) -> None:
        super().__init__(content)
        self.headers, self.status = headers, status

    def read1(self, size: int | None = -1) -> bytes:
        return super().read1(min(size or 1, 200))


class Others:
    """Plays the steps about them, and knows what was reported as saved."""

    def __init__(self, player: Player) -> None:
        self.player = player
        self.run = player.root.with_name("run")
        self.trained = 0  # the step of the run's last save
        self.fetched = False

    def train(self, step: Step) -> None:
        """Resume a training run, and save it every step."""
        make_folder(self.run)
        saves = Checkpoints(self.run)
        before = saves.read()
        at = int(before.facts["step"]) if before else 0
        for number in range(at + 1, at + 1 + step.numbers[0] % 4):
            self.player.world.spend(30.0)
            saves.write(state_at(number))
            self.trained = number

    def fetch(self, step: Step) -> None:
        """Download a file."""
        release = SimpleNamespace(tables_prefix="https://here/", tables={NAME: hashlib.sha256(CONTENT).hexdigest()})
        places = Places(release, MODELS, DownloadOptions(patience=Patience(5.0, 3, 1.0)))  # type: ignore[arg-type]
        server = Server(self.player, step.numbers[0])
        with mock.patch("jukebox_kit.model.weights.download.http.build_opener", return_value=server), alone(MODELS):
            if not exists(MODELS / NAME) and not places.table(NAME):
                raise CheckpointError("it could not be downloaded.")
        self.fetched = True

    def task(self, step: Step) -> None:
        """Do a task of an album on the song, as a rank's worker does it."""
        player, level = self.player, step.numbers[0] % 3
        worker = TaskWorker(AlbumSettings(), SimpleNamespace(send=lambda _: None))  # type: ignore[arg-type]
        rows = (0, 1) if step.numbers[0] % 2 else None
        with mock.patch.object(worker, "_model", return_value=player.model):
            outcome = worker.do(Task(player.root, normalise_request(player.request), level, rows))
        if "unexpectedly" in outcome.why:
            raise AssertionError(outcome.why)
        if outcome.end != "finished":
            raise JukeboxKitError(outcome.why)

    def faults(self, machine: Machine) -> list[str]:
        """Return what is wrong with the saves of the run and with the download, as a new process sees them."""
        wrong: list[str] = []
        if machine.disk(str(self.run)).find(str(self.run)):
            saved = Checkpoints(self.run).read()
            at = int(saved.facts["step"]) if saved else 0
            if at < self.trained and self.player.history.alone:
                wrong.append(f"step {self.trained} of the run was saved, and step {at} is read")
            if saved and any(not torch.equal(saved.tensors[k], v) for k, v in state_at(at).tensors.items()):
                wrong.append(f"step {at} of the run has other tensors")
        with suppress(FileNotFoundError):
            there = (MODELS / NAME).read_bytes()
            if there != CONTENT:
                wrong.append(f"a download of {len(there)} bytes has its name and is not the file")
            return wrong
        if self.fetched:
            wrong.append("a download is lost")
        return wrong
