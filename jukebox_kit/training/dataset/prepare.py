"""Prepares a dataset: examines every recording of a folder, then encodes those that can be used."""

from __future__ import annotations

import logging
import math
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from jukebox_kit._files import contents, kept_path, make_folder, read_file, shown_path, write_atomically
from jukebox_kit.engine import usable_device
from jukebox_kit.errors import RequestError, StoppedError
from jukebox_kit.model.weights import PARTS, fingerprint, load_definition, model_source
from jukebox_kit.song.store import open_store
from jukebox_kit.training.dataset.dataset import CODES, LIST, Dataset, DatasetSong, Refused, read_list
from jukebox_kit.training.dataset.examine import Examined, encode, examine
from jukebox_kit.training.dataset.recordings import Recording, find_recordings

log = logging.getLogger(__name__)

Ended = Callable[[int, int], object]  # gets how many recordings are done, and how many there are

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True)
class Preparation:
    """How a dataset is prepared.

    model: whose VQ-VAE encodes it, and whose limits apply.
    held_out: the share of the songs that measure progress instead of being trained on.
    processes: that encode at the same time; on a GPU one is enough.
    """

    model: str = "demo"
    held_out: float = 0.1
    processes: int = 1
    device: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.held_out <= 0.5:
            raise RequestError(f"held-out must be from 0 to 0.5, not {self.held_out:g}.", field="held_out")
        if self.processes < 1:
            raise RequestError(f"processes must be at least 1, not {self.processes}.", field="processes")


def prepare(
    folder: str | Path,
    out: str | Path,
    how: Preparation | None = None,
    say: Callable[[str], None] = log.info,
    ended: Ended = lambda _done, _total: None,
    stop: Callable[[], bool] = lambda: False,
) -> Dataset:
    """Encode the recordings of a folder at all levels, and write a dataset; interrupted, it continues where it was.

    say: gets sentences about recordings that are refused or changed. Recordings are only read.
    stop: asked after every recording; once it returns True, StoppedError is raised.
    RequestError or ConfigurationError, before anything is written, if the folder or its metadata.csv cannot be used.
    """
    how, root = how or Preparation(), kept_path(out)
    source, device = model_source(how.model), str(usable_device(how.device))
    definition = load_definition(source)
    vqvae = fingerprint(definition.find(PARTS[0]))
    _check_free(root, vqvae, how.model)
    ended = _stoppable(ended, stop)
    with workers(how.processes) as submit:
        examined = examine_folder(Path(folder), source, how.held_out, submit, say, ended)
        make_folder(root)
        with open_store(root).lock():
            todo = [(recording, one) for recording, one in examined if not _encoded(root, one.songs)]
            jobs = [(e.songs, submit(encode, r, e.songs, source, device)) for r, e in todo]
            for done, (parts, job) in enumerate(jobs, 1):
                for song, content in zip(parts, job.result(), strict=True):
                    write_atomically(root, song.codes, content)
                ended(done, len(jobs))
            refused = tuple(Refused(shown_path(r.path), one.notes[-1]) for r, one in examined if not one.songs)
            songs = tuple(song for _, one in examined for song in one.songs)
            dataset = Dataset(root, source, vqvae, definition.vqvae.sr, songs, refused)
            dataset.save()
    return dataset


def _stoppable(ended: Ended, stop: Callable[[], bool]) -> Ended:
    """Return a callback that raises StoppedError after a recording if the user asked to stop."""

    def after(done: int, total: int) -> None:
        ended(done, total)
        if stop():
            raise StoppedError("preparing was stopped; what is encoded is saved.")

    return after


def _check_free(root: Path, vqvae: str, model: str) -> None:
    """Raise RequestError if a folder holds another model's dataset, or something else."""
    if not root.exists():
        return
    if not root.is_dir():
        raise RequestError(f"{shown_path(root)} is a file; choose a folder for the dataset.")
    content = read_file(root / LIST)
    if content is not None:
        before = read_list(root, content)
        if before.vqvae != vqvae:
            raise RequestError(
                f"{shown_path(root)} holds codes of the model {before.model}, not of {model}; choose another folder."
            )
    elif any(path.name != CODES and not path.name.startswith(".") for path in contents(root)):
        raise RequestError(f"{shown_path(root)} contains other files; choose an empty or a new folder.")


def examine_folder(
    folder: Path,
    model: str,
    held_out: float,
    submit: Callable[..., _Result[Examined]],
    say: Callable[[str], None],
    ended: Ended = lambda _done, _total: None,
) -> list[tuple[Recording, Examined]]:
    """Return the recordings of a folder and what each becomes; of those with the same audio only the first is used.

    held_out: as in Preparation. submit: see `workers`. say, ended, errors: see `prepare`.
    """
    recordings = find_recordings(folder)
    jobs = [submit(examine, recording, model) for recording in recordings]
    examined: list[Examined] = []
    first: dict[str, str] = {}
    for recording, job in zip(recordings, jobs, strict=True):
        one = job.result()
        if one.songs and one.digest in first:
            same = recording.located(f"it is the same recording as {first[one.digest]}, and is used only once.")
            one = replace(one, songs=(), notes=(*one.notes, same))
        first.setdefault(one.digest, shown_path(recording.path))
        kept = one.notes if one.songs else one.notes[:-1]
        for sentence in (*kept, *(f"refused: {why}" for why in one.notes[len(kept) :])):
            say(sentence)
        examined.append(one)
        ended(len(examined), len(recordings))
    held = _held_out([song for one in examined for song in one.songs], held_out)
    if not any(one.songs for one in examined):
        raise RequestError(f"none of the {len(recordings)} recordings in {shown_path(folder)} can be used.")
    split = (replace(one, songs=tuple(replace(s, held_out=_digest(s) in held) for s in one.songs)) for one in examined)
    return list(zip(recordings, split, strict=True))


def _held_out(songs: Sequence[DatasetSong], share: float) -> set[str]:
    """Return the digests of a share of the songs to hold out: of each artist, those whose hashes come first.

    So a song's part does not change when others are added, but for rounding. Parts of one recording stay together.
    """
    held: set[str] = set()
    for artist in sorted({song.artist for song in songs}):
        digests = sorted({_digest(song) for song in songs if song.artist == artist})
        count = math.floor(len(digests) * share + 0.5)
        held |= set(digests[: min(count, len(digests) - 1)])
    if not held and share and len({_digest(song) for song in songs}) > 1:
        held.add(min(_digest(song) for song in songs))
    return held


def _digest(song: DatasetSong) -> str:
    return song.codes.rpartition("-")[0]


def _encoded(root: Path, songs: Sequence[DatasetSong]) -> bool:
    """Return whether the codes of all songs are there and whole."""
    for song in songs:
        content = read_file(root / song.codes)
        try:
            if content is None or not load(content):
                return False
        except SafetensorError:
            return False
    return True


@contextmanager
def workers(count: int) -> Iterator[Callable[..., _Result[Any]]]:
    """Yield a function that has another one run by a worker process; by this one, when asked, if there is to be one."""
    if count == 1:
        yield _Later
        return
    context = multiprocessing.get_context("spawn")  # a forked copy of torch's threads would hang
    with ProcessPoolExecutor(count, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            yield pool.submit
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class _Result(Protocol[T_co]):
    """A result to come."""

    def result(self) -> T_co:
        """Wait for it."""
        ...


class _Later(Generic[T]):
    """A call that is made when its result is asked for."""

    def __init__(self, work: Callable[..., T], *arguments: object) -> None:
        self.work, self.arguments = work, arguments

    def result(self) -> T:
        """Call it."""
        return self.work(*self.arguments)
