"""What the tests of getting files share: a tiny model that is in two places of a server on this machine."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import torch
from safetensors.torch import load_file

from jukebox_kit.model.weights.download.fetch import Here, get
from jukebox_kit.model.weights.download.http import Patience
from jukebox_kit.model.weights.download.release import Release
from jukebox_kit.model.weights.download.sources import DownloadOptions, Fetching
from tests.conftest import TINY
from tests.releases.misbehaving import Manner, Server

FILES = {part: f"tiny/{part}.pth.tar" for part in ("vqvae", "level_0", "level_1", "level_2")}
SPOILT = FILES["level_2"]
TABLES = {"artists.txt": b"unknown;0\nthe beatles;1\n", "genres.txt": b"unknown;0\npop;1\n"}
QUICK = Patience(timeout=0.2, attempts=3, wait=0.01)


def checkpoint(weights: dict[str, torch.Tensor], legacy: bool = False, **more: object) -> bytes:
    """Return weights as the release writes its files."""
    state = {f"module.{name}": value for name, value in weights.items()}
    file = io.BytesIO()
    torch.save({"model": state, "step": 3, **more}, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


def write_definition(folder: Path) -> Path:
    text = TINY.replace("vqvae: {", f"vqvae: {{file: {FILES['vqvae']}, ")
    for level in ("level_0: &upsampler {", "level_1: {", "level_2: {"):
        text = text.replace(level, f"{level}file: {FILES[level[:7]]}, ")
    (folder / "own.yaml").write_text(text)
    return folder / "own.yaml"


@dataclasses.dataclass
class World:
    """A tiny model's definition, a server with two places that have its files, and the folder they are got to."""

    server: Server
    release: Release
    yaml: Path
    target: Path
    weights: dict[str, dict[str, torch.Tensor]]
    said: list[str] = dataclasses.field(default_factory=list)
    seen: list[Fetching] = dataclasses.field(default_factory=list)

    def get(self, **options: object) -> list[Here]:
        given = {"patience": QUICK, "say": self.said.append, "progress": self.seen.append} | options
        return get(self.yaml, DownloadOptions(**given), self.release)  # type: ignore[arg-type]  # as the tests give them

    def asked(self, place: str) -> list[str | None]:
        """Return the Range of each request for the spoilt file at a place."""
        return [wanted for path, wanted in self.server.asked if path == f"/{place}/{SPOILT}"]

    def misbehave(self, place: str, **manner: object) -> None:
        self.server.manners[f"/{place}/{SPOILT}"] = Manner(**manner)  # type: ignore[arg-type]

    def converted(self, part: str = "level_2") -> Path:
        return self.target / f"tiny/{part}.safetensors"

    def intact(self) -> bool:
        """Return whether all files are there, right, and nothing else is."""
        names = {p.relative_to(self.target).as_posix() for p in self.target.rglob("*") if p.is_file()}
        wanted = {f"tiny/{part}.safetensors" for part in FILES}
        return names == wanted | {f"{name}.json" for name in wanted} | {*TABLES, ".lock"} and all(
            torch.equal(value, self.weights[part][name].to(value.dtype))
            for part in FILES
            for name, value in load_file(self.converted(part)).items()
        )
