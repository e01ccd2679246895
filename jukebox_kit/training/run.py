"""Training from scratch: gather the music, train the VQ-VAE, encode the music, train the priors.

OUT/training/music is the music, OUT/training/PART what the run of a component resumes from; OUT becomes the model.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from jukebox_kit._files import contents, make_folder, shown_path
from jukebox_kit.engine import Model
from jukebox_kit.errors import RequestError
from jukebox_kit.model.weights import MODEL_FILE, PARTS, ModelDefinition, fingerprint
from jukebox_kit.song import PAGE
from jukebox_kit.song.store import open_store
from jukebox_kit.training.checkpoints import Checkpoints
from jukebox_kit.training.curves import Measured
from jukebox_kit.training.dataset import Dataset, encode_music, gather, gathered, has_audio
from jukebox_kit.training.initial import draw_vqvae
from jukebox_kit.training.job import WORK, FineTuningJob
from jukebox_kit.training.loop import Loop, Say
from jukebox_kit.training.page import SAMPLES, RunProgress, Trained, write_curves, write_page
from jukebox_kit.training.ranks import Ranks, joined
from jukebox_kit.training.recipe import TrainingRecipe
from jukebox_kit.training.result import begin_model, weights_name, write_weights
from jukebox_kit.training.tuning import train_level
from jukebox_kit.training.vqvae import AudioPieces, VQVAETrainer, relative_errors

log = logging.getLogger(__name__)

MUSIC = "music"

TRAINED = Trained(PARTS[0], "trained from scratch", "relative squared error")

FREE_TO_CHANGE = ("save_minutes", "patience")  # settings of a VQ-VAE that a resumed run may change


def train(
    run: TrainingRecipe,
    parts: Sequence[str] = PARTS,
    device: str | None = None,
    say: Say = log.info,
    stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Train those of `parts` that are not trained yet, or resume; returns the folder, which is then a model.

    parts: some of PARTS; the VQ-VAE is trained first. device, say, stop: see `finetune`.

    Raises RequestError for a prior if the VQ-VAE is not trained and not among `parts`, or in several processes.
    """
    with joined(device) as ranks:
        say = say if ranks.first else _silent
        wanted = [part for part in (PARTS[0], *reversed(PARTS[1:])) if part in parts and not _trained(run.out, part)]
        ranks.shared(True)  # the others have looked, too
        if not wanted:
            say(f"nothing to train: {shown_path(run.out)} already contains {', '.join(parts)}")
            return run.out
        data = _prepared(run, wanted, ranks, say, stop)
        for part in wanted:
            if part != PARTS[0]:
                level = PARTS.index(part) - 1
                recipe = run.priors[level]
                say(f"training {part}")
                job = FineTuningJob(data, data.model, run.out, level, recipe.settings, None, recipe.init_scale)
                job.check()
                train_level(job, ranks, False, say, stop, lambda _: None)
    return run.out


def _trained(out: Path, part: str) -> bool:
    """Return whether a component is trained to the end; one without a folder of its run was put there by the user."""
    work = out / WORK / part
    if not (out / weights_name(part)).is_file() or not work.is_dir():
        return (out / weights_name(part)).is_file()
    facts = Checkpoints(work).facts()  # none if the run was killed before its first save
    return facts is not None and bool(facts["finished"])


def _prepared(run: TrainingRecipe, wanted: Sequence[str], ranks: Ranks, say: Say, stop: Callable[[], bool]) -> Dataset:
    """Return the music with codes of the VQ-VAE, which is trained if it is wanted."""
    root, file = run.out / WORK / MUSIC, run.out / weights_name(PARTS[0])
    data = gathered(run.music, root)
    if PARTS[0] not in wanted and not _trained(run.out, PARTS[0]):
        raise RequestError(f"the priors learn from the VQ-VAE's codes, but there is no {file}; train vqvae first.")
    if PARTS[0] not in wanted and data is not None and data.vqvae == fingerprint(file):
        if ranks.first:
            _model(run, data)
        return ranks.shared(data)
    if ranks.count > 1:
        raise RequestError("several processes train priors only; first run the recipe in one, with --part vqvae.")
    _check_folder(run.out)
    make_folder(root)
    with open_store(root).lock():
        if data is None or not has_audio(data):
            data = gather(run.music, run.source, root, say)
        definition = _model(run, data)
        data = dataclasses.replace(data, model=str(run.out / MODEL_FILE))
        if PARTS[0] in wanted:
            say("training vqvae")
            _train_vqvae(run, definition, data, ranks, say, stop)
        if not file.is_file():
            raise RequestError("the VQ-VAE was never better than before training; try a lower learning rate.")
        say(f"encoding {len(data.songs)} songs")
        return encode_music(data, Model.load(data.model, ranks.device).vqvae, fingerprint(file))


def _model(run: TrainingRecipe, data: Dataset) -> ModelDefinition:
    """Write the definition of the model, with the names of the music; see `begin_model`."""
    artists, genres = ([name for name, _ in data.names(kind)] for kind in ("artist", "genre"))
    return begin_model(run.out, run.source, artists, genres)


def _check_folder(out: Path) -> None:
    """Raise RequestError if a folder contains what a run does not write."""
    known = (WORK, SAMPLES, PAGE, *(weights_name(part) for part in PARTS))
    if out.is_dir() and not (out / MODEL_FILE).is_file() and any(path.name not in known for path in contents(out)):
        raise RequestError(f"{shown_path(out)} contains other files; choose another folder with `out`.")


def _train_vqvae(
    run: TrainingRecipe, definition: ModelDefinition, data: Dataset, ranks: Ranks, say: Say, stop: Callable[[], bool]
) -> None:
    work = run.out / WORK / PARTS[0]
    make_folder(work)
    with open_store(work).lock():
        loop = Loop(run.vqvae, run.out, Checkpoints(work), ranks, say, stop, lambda _: None)
        saved = loop.saved(_vqvae_facts(run, definition, data))
        loop.go(_VQVAE(run, definition, data, ranks, say), saved, {})


def _vqvae_facts(run: TrainingRecipe, definition: ModelDefinition, data: Dataset) -> dict[str, Any]:
    """Return what must be the same when the VQ-VAE's run is resumed, as JSON holds it."""
    settings = {k: v for k, v in dataclasses.asdict(run.vqvae).items() if k not in FREE_TO_CHANGE}
    model, songs = dataclasses.asdict(definition.vqvae), [song.codes for song in data.split(held_out=False)]
    facts: dict[str, Any] = json.loads(json.dumps({"seed": run.seed, "model": model, **settings, "songs": songs}))
    return facts


class _VQVAE:
    """The VQ-VAE that a run trains; see `loop.Component`."""

    def __init__(self, run: TrainingRecipe, definition: ModelDefinition, data: Dataset, ranks: Ranks, say: Say) -> None:
        self.run, self.data, self.say = run, data, say
        self.vqvae = draw_vqvae(definition.vqvae, run.seed).to(ranks.device)
        training, held_out = (AudioPieces.of(data, held, run.vqvae.samples, run.seed) for held in (False, True))
        self.trainer = VQVAETrainer(self.vqvae, training, run.vqvae, run.seed)
        self.held_out = held_out.load(held_out.order.fixed(run.vqvae.windows)) if held_out.songs else None
        self.errors: list[float] = []

    def measure(self) -> tuple[float | None, float | None]:
        """Return the mean of the levels' relative squared errors on held-out songs."""
        if self.held_out is None:
            return None, None
        self.errors = relative_errors(self.vqvae, self.held_out.to(self.vqvae.device))
        return sum(self.errors) / len(self.errors), None

    def write(self, values: Mapping[str, Tensor]) -> None:
        """See Component."""
        write_weights(self.run.out, PARTS[0], values)

    def report(self, measured: list[Measured]) -> None:
        """See Component."""
        one = measured[-1]
        levels = " / ".join(f"{error:.4f}" for error in self.errors)
        held_out = f"; held-out, levels 0, 1, 2: {levels}" if levels else ""
        training = "" if one.training is None else f" {one.training:.4f} in training"
        self.say(f"step {one.step} of {self.run.vqvae.steps}: relative squared error{training}{held_out}")
        write_curves(self.run.out, TRAINED, measured)

    def write_page(self, measured: list[Measured], best: float, progress: RunProgress) -> None:
        """See Component."""
        songs, held = (len(self.data.split(held)) for held in (False, True))
        facts = [
            ("dataset", f"{self.data.music}: {songs} songs, {held} held out"),
            ("best", f"{best:.4f} on held-out songs" if self.held_out is not None else "the last"),
        ]
        write_page(self.run.out, self.run.out.name, TRAINED, facts, measured, [], progress)


def _silent(_sentence: str) -> None:
    """Report nothing: only the first process does."""
