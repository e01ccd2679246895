"""The artist and genre tables of a model, read without torch."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from jukebox_kit.errors import CheckpointError, ConfigurationError
from jukebox_kit.model.labels import Tables
from jukebox_kit.model.weights.definition import PACKAGES, ModelDefinition, find_file


def read_tables(definition: ModelDefinition, source: str) -> dict[str, Tables]:
    """Return the tables of a model's label sets, by set; `source` names the model in errors.

    Raises CheckpointError if a table is missing, ConfigurationError if it does not fit the definition.
    """
    return {label_set: _table(definition, label_set, source) for label_set in definition.tables}


def _table(definition: ModelDefinition, label_set: str, source: str) -> Tables:
    files = definition.tables[label_set]
    paths = (find_table(name, definition.folder, definition.get) for name in (files.artists, files.genres))
    table = Tables.read(label_set, *paths)
    check_table(definition, table, source)
    return table


def check_table(definition: ModelDefinition, table: Tables, source: str) -> None:
    """Raise ConfigurationError if a prior has fewer rows than a label set's tables have names."""
    for prior in definition.priors:
        needed = (max(table.genres.values(), default=0) + 1, max(table.artists.values(), default=0) + 1)
        if prior.label_set == table.label_set and (needed[0] > prior.y_bins[0] or needed[1] > prior.y_bins[1]):
            has, needs = list(prior.y_bins), list(needed)
            raise ConfigurationError(f"{source}: y_bins of level {prior.level} are {has}; its tables need {needs}.")


def find_table(name: str, folder: Path, get: str | None = None) -> Path:
    """Return an id table's path: in a folder of models, else in an installed `jukebox` or `jukebox_infer` package.

    CheckpointError if it does not exist. get: the command that downloads it, for that error.
    """
    try:
        return find_file(name, folder, "the artist and genre tables", get)
    except CheckpointError as error:
        for package in PACKAGES:
            spec = importlib.util.find_spec(package)
            for root in (spec.submodule_search_locations or []) if spec else []:
                path = Path(root) / "data" / "ids" / Path(name).name
                if path.is_file():
                    return path
        raise CheckpointError(
            f"{error} The release's tables also come with the jukebox extra: pip install 'jukebox_kit[jukebox]'."
        ) from None
