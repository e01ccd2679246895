"""`models get`: downloads every file that a model lacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from jukebox_kit.errors import CheckpointError, RequestError
from jukebox_kit.model.weights.blank import blank_prior, blank_vqvae
from jukebox_kit.model.weights.checkpoint import matched, read_shapes, read_state
from jukebox_kit.model.weights.definition import PARTS, ModelDefinition, converted_name, load_definition, models_folder
from jukebox_kit.model.weights.download.convert import converted_size
from jukebox_kit.model.weights.download.disk import alone, require_space
from jukebox_kit.model.weights.download.http import discard
from jukebox_kit.model.weights.download.records import Origin, read_record, sha256_of
from jukebox_kit.model.weights.download.release import Release, load_release
from jukebox_kit.model.weights.download.sources import DownloadOptions, Places
from jukebox_kit.model.weights.tables import find_table


@dataclass(frozen=True)
class Here:
    """A file of a model: where it is, and whether this call downloaded or converted it."""

    file: str
    path: Path
    new: bool


def get(
    model: str | Path,
    options: DownloadOptions | None = None,
    release: Release | None = None,
    parts: Sequence[str] = PARTS,
) -> list[Here]:
    """Download the files of a model that are not on this machine, and return where all of its files are.

    parts: the components that are wanted; the tables of names come with any of the priors.

    Tried in order: the folders of models (their files are used in place and not changed), the cache of the Hugging
    Face libraries, `options.own`, the release's prefixes, the hub's mirrors. A download is compared with every size
    and hash that is known, opened as the expected component, converted and read back before it gets its name. The
    network is used only if something is missing. RequestError for a model that is not part of the release and for an
    unknown component, CheckpointError if something cannot be downloaded or saved; what was downloaded is kept and can
    be resumed.
    """
    unknown = [part for part in parts if part not in PARTS]
    if unknown or not parts:
        raise RequestError(
            f"part must be one of {', '.join(PARTS)}, not {unknown[0] if unknown else 'none'}.", field="part"
        )
    return _Getting(load_definition(model), options or DownloadOptions(), release or load_release(), parts).run()


class _Getting:
    def __init__(
        self, definition: ModelDefinition, options: DownloadOptions, release: Release, parts: Sequence[str]
    ) -> None:
        self.definition, self.options, self.release = definition, options, release
        self.parts = [part for part in PARTS if part in parts]
        self.target = models_folder()
        self.files = {definition.files[part]: blank for part, blank in blanks(definition).items()}
        self.places = Places(release, self.target, options)

    def run(self) -> list[Here]:
        missing, tables = self._missing(), missing_tables(self.definition) if self._wants_tables else []
        cached = self._to_convert() if self.options.convert else []
        self._refuse_strangers([*missing, *tables, *cached])
        if missing or tables or cached:
            if missing and self.definition.licence:
                self.options.say(f"licence: {self.definition.licence}.")
            require_space(self.target, self._needed(missing), self.definition.name)
            with alone(self.target):
                self._convert_cached(cached)
                left = self._bring(missing)
                left += [name for name in tables if not self.places.table(name)]
            if left:
                names = ", ".join(left[:4]) + (f" and {len(left) - 4} more" if len(left) > 4 else "")
                raise CheckpointError(
                    f"{names} could not be downloaded ({'; '.join(dict.fromkeys(self.places.reasons))}); run it "
                    f"again when the network allows, or put them in {self.target}."
                )
        return self._here({*missing, *tables, *cached})

    @property
    def _wants_tables(self) -> bool:
        return self.parts != [PARTS[0]]

    def _missing(self) -> list[str]:
        """Return the files that no folder contains in a usable form."""
        missing = []
        for part in self.parts:
            file, path = self.definition.files[part], found(self.definition, part)
            if path is None or not self._usable(file, path):
                missing.append(file)
            else:
                discard(self.target / f"{file}.part")  # left by a run that was stopped before it removed it
        return missing

    def _usable(self, file: str, path: Path) -> bool:
        try:
            matched(self.files[file], read_shapes(path), str(path))
        except CheckpointError as error:
            self.options.say(f"{error} Downloading another copy.")
            return False
        record = read_record(self.target / converted_name(file)) if path.is_relative_to(self.target) else None
        if self.options.keep_float32 and record and record.maps == "float16":
            raise RequestError(
                f"{path} has float16 linear layers; delete it, then download it again with keep-float32."
            )
        return True

    def _refuse_strangers(self, names: list[str]) -> None:
        strange = [name for name in names if name not in self.release.files and name not in self.release.tables]
        if strange:
            raise RequestError(
                f"{strange[0]} of {self.definition.name} is not a file of the release; put it beside the model's YAML."
            )

    def _needed(self, missing: list[str]) -> int:
        """Return the bytes that missing files need: each of them converted, and the largest original besides."""
        keep, originals = self.options.keep_float32, [0]
        for file in missing:
            published = self.release.files[file].bytes
            part = self.target / f"{file}.part"
            whole = published or 4 * sum(value.numel() for value in self.files[file].state_dict().values())
            originals.append(whole - (part.stat().st_size if part.exists() else 0))
        return max(originals) + sum(converted_size(self.files[file], keep) for file in missing)

    def _bring(self, missing: list[str]) -> list[str]:
        """Download files from one place after another; return those that none of them had."""
        left = self._from_mirrors(missing, cached=True)
        left = [file for file in left if not self.places.original(file, self.files[file])]
        return self._from_mirrors(left, cached=False)

    def _from_mirrors(self, left: list[str], cached: bool) -> list[str]:
        fullest = sorted(self.release.mirrors, key=lambda mirror: -len(set(mirror.holds.values()) & set(left)))
        for mirror in fullest:
            brought = self.places.mirrored(mirror, {file: self.files[file] for file in left}, cached)
            left = [file for file in left if file not in brought]
        return left

    def _to_convert(self) -> list[str]:
        paths = {self.definition.files[part]: found(self.definition, part) for part in self.parts}
        return [file for file, path in paths.items() if path and path.suffix != ".safetensors"]

    def _convert_cached(self, files: list[str]) -> None:
        """Convert files of caches, which are not changed."""
        for file in files:
            path = next(
                p for part in PARTS if self.definition.files[part] == file and (p := found(self.definition, part))
            )
            origin = Origin(path.absolute().as_uri(), path.stat().st_size, sha256_of(path)[0])
            self.places.keep(file, self.files[file], matched(self.files[file], read_state(path), str(path)), (origin,))

    def _here(self, new: set[str]) -> list[Here]:
        here = []
        for part in self.parts:
            file, path = self.definition.files[part], self.definition.find(part)
            matched(self.files[file], read_shapes(path), str(path))
            here.append(Here(file, path, file in new))
        names = table_names(self.definition) if self._wants_tables else []
        return here + [Here(name, find_table(name, self.definition.folder), name in new) for name in names]


def blanks(definition: ModelDefinition) -> dict[str, nn.Module]:
    """Return each component of a model without weights, on the meta device."""
    parts = [blank_vqvae(definition), *(blank_prior(definition, level) for level in range(len(PARTS) - 1))]
    return dict(zip(PARTS, parts, strict=True))


def found(definition: ModelDefinition, part: str) -> Path | None:
    """Return the file of a component; None if it is not on this machine."""
    try:
        return definition.find(part)
    except CheckpointError:
        return None


def table_names(definition: ModelDefinition) -> list[str]:
    """Return the files of a model's tables of artists and genres."""
    return [name for table in definition.tables.values() for name in (table.artists, table.genres)]


def missing_tables(definition: ModelDefinition) -> list[str]:
    """Return the tables that are neither in a folder of models nor in an installed package."""
    missing = []
    for name in table_names(definition):
        try:
            find_table(name, definition.folder)
        except CheckpointError:
            missing.append(name)
    return missing
