"""Peers: other implementations that sample the same shapes, each in its own process, in turns with ours."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType

import numpy as np

from jukebox_kit.checks.bench.peer_worker import JUKEBOXES, PATTERNS
from jukebox_kit.checks.bench.shapes import Subject
from jukebox_kit.engine import Placement
from jukebox_kit.errors import RequestError
from jukebox_kit.model.weights import OWN_CACHE

log = logging.getLogger(__name__)

WORKER = Path(__file__).with_name("peer_worker.py")

TRANSFORMERS = "4.57.6"  # the last release that has its Jukebox

PEERS = ("transformers", "jukebox")


def peers_folder() -> Path:
    """Return the folder that peers are installed in, apart from everything else."""
    return OWN_CACHE.expanduser().parent / "peers"


def check_peer(name: str, placement: Placement, subjects: tuple[Subject, ...], interpreter: Path | None) -> None:
    """Raise RequestError if comparing with a peer is impossible, before any work and without installing anything."""
    if name not in PEERS:
        raise RequestError(f"there is no peer {name}; choose {' or '.join(PEERS)}.")
    if interpreter is not None and not interpreter.is_file():
        raise RequestError(f"there is no interpreter {interpreter}; give the path of a Python that has {name}.")
    if name == "jukebox" and placement.on_cpu:
        raise RequestError("jukebox runs on a GPU only; use a GPU, or leave jukebox out.")
    if name == "jukebox" and interpreter is None and not any(importlib.util.find_spec(one) for one in JUKEBOXES):
        raise RequestError(
            "neither jukebox nor jukebox_infer is installed; pip install 'jukebox_kit[jukebox]', or give an "
            "interpreter that has one with --peer-python."
        )
    for subject in subjects:
        if subject.config.attn_order not in PATTERNS:
            raise RequestError(
                f"{name} does not support the attention order of {subject.name}; compare another level, or a --shape."
            )


def peer_command(name: str, interpreter: Path | None) -> tuple[list[str], dict[str, str]]:
    """Return the command that runs a peer's worker, and its environment; the peer is installed on first use.

    Raises RequestError if that fails.
    """
    environment = {**os.environ, "TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    command = [str(interpreter or sys.executable), str(WORKER), name]
    if name == "transformers" and interpreter is None:
        own = str(_installed(f"transformers=={TRANSFORMERS}", peers_folder() / f"transformers-{TRANSFORMERS}"))
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (own, os.environ.get("PYTHONPATH"))))
    return command, environment


class Peer:
    """A peer's process for one prior; a Contender. `about`: how the peer describes itself."""

    def __init__(self, name: str, subject: Subject, placement: Placement, threads: int, interpreter: Path | None):
        count = "" if not placement.on_cpu else f", {threads} thread{'s' * (threads > 1)}"
        self.name, self.subject = name + count, subject
        self._at = {"songs": 1, "at": 0}
        part = json.dumps(_described(subject, placement, threads))
        command, environment = peer_command(name, interpreter)
        with ExitStack() as opened:
            self._errors = opened.enter_context(tempfile.TemporaryFile("w+"))
            self._process = subprocess.Popen(
                [*command, part],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=environment,
                text=True,
            )
            opened.callback(self._end)
            self.about = {key: str(value) for key, value in self._answer().items()}
            self._opened = opened.pop_all()

    def __enter__(self) -> Peer:
        """Return it."""
        return self

    def __exit__(self, _t: type[BaseException] | None, _e: BaseException | None, _b: TracebackType | None) -> None:
        """End the process."""
        self._opened.close()

    def begin(self, songs: int, at: int) -> None:
        """See Contender."""
        self._at = {"songs": songs, "at": at}

    def run(self, steps: int) -> float:
        """See Contender. The window is prefilled the first time, before the clock starts."""
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps({**self._at, "steps": steps}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise RequestError(self._why()) from None
        return float(str(self._answer().get("seconds", "nan")))

    def _answer(self) -> dict[str, object]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RequestError(self._why())
        answer: dict[str, object] = json.loads(line)
        if "error" in answer:
            raise RequestError(f"{self.name} cannot run {self.subject.name}: {answer['error']}")
        return answer

    def _why(self) -> str:
        self._process.wait()
        self._errors.seek(0)
        last = next((line for line in reversed(self._errors.read().splitlines()) if line.strip()), "no message")
        return f"{self.name} ended while running {self.subject.name}: {last.strip()}"

    def _end(self) -> None:
        for pipe in filter(None, (self._process.stdin, self._process.stdout)):
            with suppress(BrokenPipeError):  # it has ended already
                pipe.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _described(subject: Subject, placement: Placement, threads: int) -> dict[str, object]:
    config = subject.config
    return {
        "width": config.prior_width,
        "depth": config.prior_depth,
        "heads": config.heads,
        "blocks": config.blocks,
        "order": config.attn_order,
        "m_attn": config.m_attn,
        "m_mlp": config.m_mlp,
        "merged": config.merged_decoder,
        "bins": subject.vqvae.l_bins + (config.n_vocab if config.single_enc_dec else 0),
        "positions": config.positions,
        "prefix": subject.prefix,
        "lyrics": config.n_tokens,
        "encoder": config.has_encoder,
        "cuda": not placement.on_cpu,
        "threads": threads,
    }


def _installed(package: str, folder: Path) -> Path:
    """Return a folder with a package and its dependencies, numpy in this version; torch comes from this environment."""
    if folder.is_dir():
        return folder
    log.info("installing %s in %s", package, folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}-") as parent:
        fresh = Path(parent) / "packages"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(fresh)]
        done = subprocess.run(
            [*command, package, f"numpy=={np.__version__}"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            last = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "no message from pip")
            raise RequestError(
                f"{package} could not be installed in {folder} ({last.strip()}); install it in a separate environment "
                f"and give that environment's interpreter with --peer-python."
            )
        fresh.rename(folder)
    return folder
