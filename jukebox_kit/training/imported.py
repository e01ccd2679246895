"""Imports a checkpoint that the trainer of 2020 wrote for a prior, `checkpoint_*.pth.tar`, as a model in a folder.

Its entry `model` holds the averaged weights, which become a safetensors file; `hps` holds the settings, and `step` how
long it was trained. The optimizer's state is left out.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from jukebox_kit._files import contents, make_folder, shown_path, shown_size, user_path
from jukebox_kit._values import of_type
from jukebox_kit.errors import CheckpointError, RequestError
from jukebox_kit.model import LEVELS, TOP, PriorConfig, Tables, normalise, read_ids
from jukebox_kit.model.weights import (
    MODEL_FILE,
    PARTS,
    MadeFrom,
    ModelDefinition,
    blank_prior,
    check_table,
    load_definition,
    matched,
    read_pickle,
    read_state,
    read_tables,
    shipped_models,
    weights_in,
)
from jukebox_kit.model.weights.download import convert, require_space, sha256_of
from jukebox_kit.training.new_names import TABLES
from jukebox_kit.training.result import file_of, settings_of, weights_name, write_definition

log = logging.getLogger(__name__)

# Settings without which the same weights compute something else, and which no shape shows.
UNSEEN = ("heads", "blocks", "attn_order", "labels_v3", "max_bow_genre_size")


@dataclass(frozen=True)
class _Checkpoint:
    """A checkpoint: the shapes of its weights, the settings that it was trained with, and the number of steps."""

    path: Path
    state: Mapping[str, Tensor]
    settings: Mapping[str, Any]
    step: int | None

    @classmethod
    def read(cls, path: Path) -> _Checkpoint:
        """Read a file; tensors that cannot be mapped are on the meta device."""
        if not path.is_file():
            raise CheckpointError(f"there is no checkpoint {path}.")
        content = read_pickle(path, "meta")
        state = weights_in(content, path)
        entries = cast("dict[str, Any]", content)
        settings = entries.get("hps")
        return cls(path, state, settings if isinstance(settings, dict) else {}, _as(int, entries.get("step")))

    @property
    def level(self) -> int | None:
        """The level that its settings name."""
        level = _as(int, self.settings.get("level"))
        return level if level in LEVELS and self.settings.get("prior") else None

    def rows(self) -> tuple[int, int] | None:
        """Return the rows of its tables of genres and artists; None if it has none."""
        tables = [self.state.get(f"{TABLES[kind]}.weight") for kind in ("genre", "artist")]
        genres, artists = (len(table) if table is not None and table.dim() == 2 else 0 for table in tables)
        return (genres, artists) if genres and artists else None

    def config(self, definition: ModelDefinition, level: int) -> PriorConfig:
        """Return a level's configuration with as many rows as the checkpoint's tables have."""
        config = definition.priors[level]
        return dataclasses.replace(config, y_bins=self.rows() or config.y_bins)

    def mismatch(self, definition: ModelDefinition, level: int) -> CheckpointError | None:
        """Return how its weights differ from those of a level, whose tables may have any size; None if they do not."""
        blank = blank_prior(_with(definition, self.config(definition, level)), level)
        try:
            matched(blank, dict(self.state), shown_path(self.path))
        except CheckpointError as error:
            return error
        return None


def import_checkpoint(
    checkpoint: Path,
    base: str | Path,
    folder: Path,
    level: int | None = None,
    artists: Path | None = None,
    genres: Path | None = None,
    say: Callable[[str], None] = log.info,
) -> Path:
    """Write a folder that is a model: a base with one level of a checkpoint; returns the folder.

    level: by default the one that the checkpoint names, or the only one that it fits.
    artists, genres: the id files that it was trained with, lines `name;id`; by default those of the base.
    say: gets what is written.

    Raises CheckpointError for a file that cannot be read, or that is not of a prior of the base, and RequestError for
    a folder that is in use and for id files that do not fit, before anything is written.
    """
    definition, path = load_definition(base), user_path(checkpoint)
    if definition.adapters:
        raise RequestError(
            f"{definition.name} has adapters; pass the model that it was made from, or write its whole weights first "
            f"with: jukebox-kit models merge.",
            field="base",
        )
    _check_free(folder)
    read = _Checkpoint.read(path)
    chosen = _chosen_level(read, definition, level)
    made = _with(definition, _trained_config(read, definition, chosen))
    if made.priors[chosen].y_bins != definition.priors[chosen].y_bins and not (artists and genres):
        has, knows = made.priors[chosen].y_bins, definition.priors[chosen].y_bins
        raise RequestError(
            f"{shown_path(path)} has {has[0]} genres and {has[1]} artists, and {definition.name} {knows[0]} and "
            f"{knows[1]}; pass the id files that it was trained with: --genres FILE --artists FILE."
        )
    tables = read_tables(definition, definition.name)
    label_set = made.priors[chosen].label_set
    tables[label_set] = _own_tables(read, made, chosen, tables[label_set], artists, genres)
    size = sum(tensor.numel() * tensor.element_size() for tensor in read.state.values())
    steps = "" if read.step is None else f", {read.step} steps"
    say(f"{shown_path(path)}: {PARTS[chosen + 1]} of {definition.name}{steps}")
    say(f"writing {shown_size(size)} to {shown_path(folder)}")
    require_space(folder, size, "the model", "choose a folder on a larger disk with --out")
    made_from = MadeFrom(definition.name, path.name, read.step, sha256_of(path)[0])
    about = f"{definition.name} with {PARTS[chosen + 1]} trained by the code of 2020{steps}"
    _write(folder, dataclasses.replace(made, name=folder.name, about=about, made_from=made_from), tables, chosen, read)
    return folder


def _write(
    folder: Path, made: ModelDefinition, tables: Mapping[str, Tables], level: int, checkpoint: _Checkpoint
) -> None:
    """Write the weights as they are, float16 too, and then the tables and the YAML file, which makes it a model."""
    make_folder(folder)
    state = dict(checkpoint.state)
    if any(tensor.is_meta for tensor in state.values()):
        state = read_state(checkpoint.path)
    part = blank_prior(made, level)
    file = folder / weights_name(PARTS[level + 1])
    convert(part, matched(part, state, str(checkpoint.path)), file, keep=True)
    parts: dict[str, dict[str, Any]] = {}
    for name, config in zip(PARTS, (made.vqvae, *made.priors), strict=True):
        own = name == PARTS[level + 1]
        parts[name] = {"file": file.name if own else file_of(made, name, folder), **settings_of(config)}
    write_definition(folder, made, tables, parts)


def _check_free(folder: Path) -> None:
    """Raise RequestError for a folder with anything but what an interrupted import has left."""
    if not folder.exists():
        return
    left = [weights_name(PARTS[level + 1]) for level in LEVELS]
    if not folder.is_dir() or (folder / MODEL_FILE).exists() or any(p.name not in left for p in contents(folder)):
        raise RequestError(f"{shown_path(folder)} exists already; choose another name.", field="name")


def _chosen_level(checkpoint: _Checkpoint, definition: ModelDefinition, wanted: int | None) -> int:
    """Return the level of a base that a checkpoint is of; CheckpointError or RequestError if it is not clear."""
    path, base = shown_path(checkpoint.path), definition.name
    if any(name.startswith("bottleneck.") for name in checkpoint.state):
        raise CheckpointError(
            f"{path} is the checkpoint of a VQ-VAE; pass one of a prior that was trained with the VQ-VAE of {base}."
        )
    fitting = [level for level in LEVELS if checkpoint.mismatch(definition, level) is None]
    if checkpoint.level in fitting:
        fitting = [level for level in fitting if level == checkpoint.level]
    parts = [PARTS[level + 1] for level in fitting]
    if not fitting:
        _refuse(checkpoint, definition, next(one for one in (wanted, checkpoint.level, TOP) if one is not None))
    if wanted is None and len(fitting) > 1:
        raise RequestError(f"{path} fits {' and '.join(parts)} of {base}; say which with --level.", field="level")
    if wanted is not None and wanted not in fitting:
        raise CheckpointError(
            f"{path} is of {' or '.join(parts)} of {base}, not of {PARTS[wanted + 1]}; pass --level {parts[0]}."
        )
    return fitting[0] if wanted is None else wanted


def _refuse(checkpoint: _Checkpoint, definition: ModelDefinition, level: int) -> None:
    """Raise CheckpointError for a checkpoint that fits no level of a base: it names the model that it does fit."""
    width = checkpoint.state.get("prior.x_emb.weight", torch.empty(0)).shape[-1]
    for other in map(load_definition, shipped_models()):
        for part, prior in zip(PARTS[1:], other.priors, strict=True):
            if prior.prior_width == width and checkpoint.mismatch(other, prior.level) is None:
                raise CheckpointError(
                    f"{shown_path(checkpoint.path)} is of {part} of {other.name}, not of {definition.name}; pass "
                    f"--base {other.name}."
                )
    if error := checkpoint.mismatch(definition, level):
        raise error


def _trained_config(checkpoint: _Checkpoint, definition: ModelDefinition, level: int) -> PriorConfig:
    """Return a level's configuration as it was trained: rows of tables, and the range of total lengths.

    CheckpointError if the checkpoint's settings say that the same weights compute something else.
    """
    config = checkpoint.config(definition, level)
    for name in UNSEEN:
        before, now = checkpoint.settings.get(name), getattr(config, name)
        if before is not None and before != (list(now) if isinstance(before, list) else now):
            raise CheckpointError(
                f"{shown_path(checkpoint.path)} was trained with {name} {before}, and {PARTS[level + 1]} of "
                f"{definition.name} has {now}; pass as --base a model's YAML file with the same settings."
            )
    if config.min_duration is None:  # only top priors know the song's total length
        return config
    seconds = {name: _as(float, checkpoint.settings.get(name)) for name in ("min_duration", "max_duration")}
    return dataclasses.replace(config, **{name: value for name, value in seconds.items() if value})


def _own_tables(
    checkpoint: _Checkpoint,
    made: ModelDefinition,
    level: int,
    known: Tables,
    artists: Path | None,
    genres: Path | None,
) -> Tables:
    """Return the tables that a checkpoint was trained with; RequestError if a file of them does not fit."""
    names = {"artist": known.artists, "genre": known.genres}
    genre_rows, artist_rows = made.priors[level].y_bins
    for kind, file, rows in (("artist", artists, artist_rows), ("genre", genres, genre_rows)):
        if file is None:
            continue
        names[kind] = _names(user_path(file), known.label_set)
        largest = max(names[kind].values(), default=0)
        if largest >= rows:
            raise RequestError(
                f"{file} has the id {largest}, and {shown_path(checkpoint.path)} has {rows} {kind}s; pass the file "
                f"that it was trained with.",
                field=f"{kind}s",
            )
    table = Tables(known.label_set, names["artist"], names["genre"])
    check_table(made, table, f"--artists and --genres do not fit the other levels of {made.name}")
    return table


def _names(file: Path, label_set: str) -> dict[str, int]:
    """Return name → id of an id file, which the code of 2020 lets users write, as it reads them: in lower case."""
    try:
        table = read_ids(file)
    except (OSError, UnicodeDecodeError):
        raise RequestError(f"{file} is not a text file in UTF-8; pass one with lines of the form name;id.") from None
    return {normalise(name.removeprefix("\ufeff"), label_set): index for name, index in table.items()}


def _with(definition: ModelDefinition, config: PriorConfig) -> ModelDefinition:
    priors = tuple(config if prior.level == config.level else prior for prior in definition.priors)
    return dataclasses.replace(definition, priors=priors)


def _as(kind: type[int] | type[float], value: Any) -> Any:
    """Return a number of a checkpoint's settings as a type; None if it is not one."""
    with suppress(TypeError):
        number = of_type(value, kind)
        return number if math.isfinite(number) else None
    return None
