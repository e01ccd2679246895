"""A song: a folder that holds the request, the codes and the audio of every level, readable without this package.

song.json                  the request as asked and as resolved, checkpoints' fingerprints, history
level_2/codes.safetensors  tokens so far, (items, tokens), with a checksum; level_1, level_0 alike
level_2/item_0.wav …       the audio of that level
spectrogram.png            the levels of item 0
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jukebox_kit.audio import Audio, read_recording, wav_bytes
from jukebox_kit.definitions import ModelDefinition, load_definition
from jukebox_kit.errors import AudioError, SongError
from jukebox_kit.labels import Labels
from jukebox_kit.models import Model
from jukebox_kit.request import Request, Resolved, resolve
from jukebox_kit.sampling import UNMADE
from jukebox_kit.store import Codes, LocalStore, Store, pack_codes, unpack_codes
from jukebox_kit.windows import LevelPlan

FORMAT = 1
LEVELS = (0, 1, 2)
OWN_NAMES = {"song.json", "level_0", "level_1", "level_2", "prompt.wav", "spectrogram.png", ".lock"}


@dataclass(frozen=True)
class LevelStatus:
    """How far a level is, in tokens of all items together."""

    level: int
    done: int
    total: int


class Song:
    """A song folder. Make one with `create`, come back to one with `open`."""

    def __init__(self, store: Store, manifest: dict[str, Any]) -> None:
        self.store, self.manifest = store, manifest
        self.request = _request(manifest["request"])
        self.resolved = _resolved(manifest["resolved"])
        self.definition: ModelDefinition = load_definition(self.request.model)

    @classmethod
    def create(cls, folder: str | Path, loaded: Model | None = None, **request: Any) -> Song:
        """Make a song folder for a request, whose fields are those of `Request`; nothing is sampled yet.

        A folder that holds the same request is opened; one that holds another song or anything else is refused with
        SongError, as are requests that the model cannot do, before anything is written. `loaded` spares loading the
        model again.
        """
        root, asked = Path(folder), _settled(request)
        if (root / "song.json").exists():
            return cls.open(root)._same(asked)
        if root.exists() and not root.is_dir():
            raise SongError(f"{root} is a file; choose a folder for the song.")
        if root.is_dir() and not {p.name for p in root.iterdir()} <= OWN_NAMES:
            raise SongError(f"{root} holds something that is not a song; choose another folder.")
        if any((root / f"level_{level}" / "codes.safetensors").exists() for level in LEVELS):
            raise SongError(f"{root} holds codes but no song.json; put that file back, or choose another folder.")
        model = loaded or Model.load(asked.model)
        resolved = resolve(asked, model.definition, model.tables)
        model.check_files()
        prompt = None if asked.prompt is None else _read_prompt(asked, resolved, model)
        store = LocalStore(root)
        manifest = _manifest(asked, resolved, model)
        if prompt is not None:
            store.write("prompt.wav", wav_bytes(prompt, model.definition.vqvae.sr))
            _write_prompt_codes(store, prompt, resolved, model, asked.items)
        # Last, since a folder without it is no song yet: a creation cut short is begun again.
        store.write("song.json", _json(manifest))
        return cls(store, manifest)

    @classmethod
    def adopt(
        cls,
        folder: str | Path,
        codes: Mapping[int, Codes],
        came_from: dict[str, Any],
        loaded: Model | None = None,
        **request: Any,
    ) -> Song:
        """Make a song folder around codes that were made elsewhere.

        codes: level → (items, tokens) int16, any number of tokens (0 too) in each level, at most that of the song. They
        are kept as given, as a prompt is: never sampled again and never checked by replay. `came_from` (JSON) is
        written to song.json under "came_from". Raises as `create` does.
        """
        root, asked = Path(folder), _settled(request)
        if root.exists() and not (root.is_dir() and not any(root.iterdir())):
            raise SongError(f"{root} holds something already; choose another folder.")
        model = loaded or Model.load(asked.model)
        resolved = resolve(asked, model.definition, model.tables)
        model.check_files()
        store = LocalStore(root)
        for level, given in codes.items():
            whole = np.full((asked.items, resolved.plans[level].total), UNMADE, np.int16)
            if given.shape[0] != whole.shape[0] or given.shape[1] > whole.shape[1]:
                raise SongError(f"codes of level {level} are {given.shape}; the song has room for {whole.shape}.")
            whole[:, : given.shape[1]] = given
            store.write(f"level_{level}/codes.safetensors", pack_codes(whole, given.shape[1]))
        manifest = _manifest(asked, resolved, model) | {"came_from": came_from}
        store.write("song.json", _json(manifest))
        return cls(store, manifest)

    @classmethod
    def open(cls, folder: str | Path) -> Song:
        """Open a song folder; SongError where it is none, is damaged, or comes from a newer version."""
        store = LocalStore(Path(folder))
        content = store.read("song.json") if store.root.is_dir() else None
        if content is None:
            raise SongError(f"{folder} is not a song folder; make one with: jukebox-kit sample {folder}")
        try:
            manifest = json.loads(content)
            if manifest["format"] != FORMAT:
                raise SongError(
                    f"{folder} was made by another version (format {manifest['format']}); upgrade this package."
                )
            return cls(store, manifest)
        except (ValueError, KeyError, TypeError) as error:
            raise SongError(f"{folder}/song.json is damaged ({error}); put back a copy of it.") from None

    @property
    def root(self) -> Path:
        """The folder."""
        return self.store.root

    @property
    def sr(self) -> int:
        """Sample rate of the song's audio, samples a second."""
        return self.definition.vqvae.sr

    def codes(self, level: int) -> tuple[Codes, int]:
        """Return a level's codes, (items, tokens) int16, -1 where none is made yet, and how many the prompt gave."""
        name = f"level_{level}/codes.safetensors"
        content = self.store.read(name)
        shape = (self.request.items, self.resolved.plans[level].total)
        if content is None:
            return np.full(shape, UNMADE, np.int16), 0
        codes, primed = unpack_codes(content, f"{self.root}/{name}")
        if codes.shape != shape:
            raise SongError(f"{self.root}/{name} has the shape of another song, {codes.shape}; put back a copy of it.")
        return codes, primed

    def write_codes(self, level: int, codes: Codes, primed: int) -> None:
        """Keep a level's codes."""
        self.store.write(f"level_{level}/codes.safetensors", pack_codes(codes, primed))

    def status(self) -> tuple[LevelStatus, ...]:
        """Return how far each level is, level 2 first."""
        found = ((level, self.codes(level)[0]) for level in reversed(LEVELS))
        return tuple(LevelStatus(level, int((codes >= 0).sum()), codes.size) for level, codes in found)

    def audio(self, level: int = 0, item: int = 0, model: Model | None = None) -> Audio:
        """Return an item's audio decoded from a level's codes so far, (samples,) float32, not clipped."""
        if level not in LEVELS or not 0 <= item < self.request.items:
            raise SongError(f"{self.root} has levels 0 to 2 and items 0 to {self.request.items - 1}.")
        codes = self.codes(level)[0][item]
        made = codes[: int((codes >= 0).sum())]
        vqvae = (model or Model.load(self.request.model)).vqvae
        device = vqvae.codebook(level).k.device
        audio = vqvae.decode(torch.from_numpy(made.astype(np.int64))[None].to(device), level)
        return audio[0, :, 0].cpu().numpy()

    def note(self, what: str) -> None:
        """Add a line to the song's history."""
        self.manifest["history"].append({"when": _now(), "what": what})
        self.store.write("song.json", _json(self.manifest))

    def check_model(self, model: Model) -> None:
        """Raise SongError where a part's file is not the one that the song was made with."""
        found = model.fingerprints()
        changed = [part for part, mark in self.manifest["checkpoints"].items() if found[part] != mark]
        if changed:
            raise SongError(
                f"{self.root} was made with other {', '.join(changed)} weights than those on this machine; put those "
                f"back, or start a new song."
            )

    def _same(self, asked: Request) -> Song:
        before, now = dataclasses.asdict(self.request), dataclasses.asdict(asked)
        changed = [name for name in before if before[name] != now[name]]
        if changed:
            name = changed[0]
            raise SongError(
                f"{self.root} holds a song with {name} {before[name]!r}, not {now[name]!r}; choose another folder, or "
                f"continue that song with: jukebox-kit resume {self.root}"
            )
        return self


def find_songs(folders: list[Path]) -> list[Path]:
    """Return the song folders among folders and their children; SongError where a folder is not there."""
    found: list[Path] = []
    for folder in folders:
        if not folder.is_dir():
            raise SongError(f"there is no folder {folder}.")
        inside = [folder, *sorted(child for child in folder.iterdir() if child.is_dir())]
        found += [child for child in inside if (child / "song.json").exists()]
    return found


def _settled(fields: dict[str, Any]) -> Request:
    """Return the request with what may be written shorter made whole: the top's temperature alone, relative paths."""
    settled = dict(fields)
    temperature = settled.get("temperature")
    if isinstance(temperature, int | float):
        defaults = load_definition(settled.get("model", Request.model)).sampling.temperature
        settled["temperature"] = (*defaults[:2], float(temperature))
    for name in ("temperature", "hop_fraction"):
        if isinstance(settled.get(name), list | tuple):
            settled[name] = tuple(settled[name])
    for name in ("model", "prompt"):
        value = settled.get(name)
        is_path = value is not None and (name == "prompt" or Path(value).suffix in (".yaml", ".yml"))
        settled |= {name: str(Path(value).absolute())} if is_path and value is not None else {}
    return Request(**settled)


def _read_prompt(asked: Request, resolved: Resolved, model: Model) -> Audio:
    """Return the prompt cut to whole tokens of the top level; AudioError where it leaves nothing to sample."""
    assert asked.prompt is not None
    vqvae = model.definition.vqvae
    audio = read_recording(Path(asked.prompt), vqvae.sr, asked.prompt_seconds)
    samples = len(audio) // vqvae.hops[-1] * vqvae.hops[-1]
    if not samples:
        raise AudioError(f"{asked.prompt} is shorter than one token, {vqvae.hops[-1] / vqvae.sr:.3f} seconds.")
    if samples >= resolved.samples:
        raise AudioError(
            f"the prompt of {samples / vqvae.sr:.2f} seconds leaves nothing of {asked.seconds:g} seconds to sample; "
            f"ask for more seconds, or cut the prompt with prompt-seconds."
        )
    return audio[:samples]


def _write_prompt_codes(store: Store, prompt: Audio, resolved: Resolved, model: Model, items: int) -> None:
    audio = torch.from_numpy(prompt)[None, :, None].to(model.device)
    for level, codes in enumerate(model.vqvae.encode(audio)):
        primed = codes.shape[1]
        whole = np.full((items, resolved.plans[level].total), UNMADE, np.int16)
        whole[:, :primed] = codes.cpu().numpy()
        store.write(f"level_{level}/codes.safetensors", pack_codes(whole, primed))


def _manifest(asked: Request, resolved: Resolved, model: Model) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "licence": model.definition.licence,
        "request": dataclasses.asdict(asked),
        "resolved": dataclasses.asdict(resolved),
        "checkpoints": model.fingerprints(),
        "history": [{"when": _now(), "what": "created"}],
    }


def _request(values: dict[str, Any]) -> Request:
    settled: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}
    return Request(**settled)


def _resolved(values: dict[str, Any]) -> Resolved:
    labels = tuple(
        Labels(**{**v, "genres": tuple(v["genres"]), "tokens": tuple(v["tokens"])}) for v in values["labels"]
    )
    plans = tuple(LevelPlan(**{**v, "starts": tuple(v["starts"])}) for v in values["plans"])
    return Resolved(values["samples"], labels, plans, tuple(values["notes"]))


def _json(manifest: dict[str, Any]) -> bytes:
    return (json.dumps(manifest, indent=1, ensure_ascii=False) + "\n").encode()


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
