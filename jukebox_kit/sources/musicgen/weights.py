"""Where MusicGen's weights are: a folder, the hub's cache on this machine, or the hub; and what is recorded of them.

All that transformers offers for loading is imported here, when a model is loaded, and nowhere else.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from jukebox_kit._files import shown_path, user_path
from jukebox_kit.errors import CheckpointError

DEFAULT = "facebook/musicgen-small"

RELEASED = tuple(
    f"facebook/musicgen-{kind}{size}" for kind in ("", "stereo-") for size in ("small", "medium", "large", "melody")
)

LICENCE = "CC-BY-NC-4.0"

ABOUT_LICENCE = f"MusicGen's weights are for noncommercial use only (licence {LICENCE})."

CLASSES = {
    "musicgen": "MusicgenForConditionalGeneration",
    "musicgen_melody": "MusicgenMelodyForConditionalGeneration",
}

HUB_NAME = r"[\w-][\w.-]*/[\w.-]+"

_Loaded = TypeVar("_Loaded")


@dataclass(frozen=True)
class Weights:
    """A model's files.

    name: the model's name on the hub, or its folder.
    folder: the folder with its files; None if the hub's model is not on this machine yet.
    """

    name: str
    folder: Path | None

    @property
    def on_hub(self) -> bool:
        """Whether the model comes from the hub, not from a folder of the user's."""
        return self.folder is None or self.folder.parent.name == "snapshots"

    @property
    def revision(self) -> str | None:
        """The hub's revision; None for a user's folder."""
        return self.folder.name if self.folder is not None and self.on_hub else None

    @property
    def licence(self) -> str:
        """The licence: of a released model, or what a folder's README.md states."""
        if self.name in RELEASED:
            return LICENCE
        card = self.folder / "README.md" if self.folder is not None else Path()
        stated = re.search(r"^license: *(\S+)", card.read_text("utf-8", "replace"), re.M) if card.is_file() else None
        return stated[1] if stated else f"not stated; the released models have {LICENCE}"

    def hashes(self) -> dict[str, str]:
        """Return the SHA-256 of each file of weights. The hub's cache names large files by it."""
        hashes: dict[str, str] = {}
        for path in sorted([*self._files("*.safetensors"), *self._files("*.bin")]):
            blob = path.resolve().name
            known = path.is_symlink() and re.fullmatch(r"[0-9a-f]{64}", blob)
            hashes[path.name] = blob if known else _sha256(path)
        return hashes

    def _files(self, pattern: str) -> list[Path]:
        return [] if self.folder is None else list(self.folder.glob(pattern))


def find_weights(model: str | None) -> Weights:
    """Return where a model is, by its name on the hub or its folder; CheckpointError if it cannot be either.

    A folder is looked for first: transformers would ask the hub for a folder that is missing.
    """
    name = model or DEFAULT
    folder = user_path(name)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise CheckpointError(
                f"{shown_path(folder)} has no config.json; choose a folder that transformers saved a model in.",
                field="model",
            )
        return Weights(str(folder.absolute()), folder.absolute())
    if folder.is_file():
        raise CheckpointError(f"{shown_path(folder)} is a file; choose the folder of a model.", field="model")
    if name in RELEASED or (re.fullmatch(HUB_NAME, name) and not folder.parent.is_dir()):
        return Weights(name, None)
    raise CheckpointError(
        f"there is no folder {name}; choose the folder of a model, or a released one: {', '.join(RELEASED)}.",
        field="model",
    )


class Loader:
    """Loads the parts of one model, from this machine if it is there, and otherwise from the hub."""

    def __init__(self, weights: Weights, note: Callable[[str], object]) -> None:
        self.weights, self._note, self._downloading = weights, note, False

    def config(self) -> Any:
        """Return the model's configuration; CheckpointError if it is not MusicGen's."""
        from transformers import AutoConfig

        config = self._load(AutoConfig.from_pretrained)
        if config.model_type not in CLASSES:
            raise CheckpointError(
                f"{self.weights.name} is a model of the type {config.model_type}, not MusicGen; choose another one.",
                field="model",
            )
        return config

    def tokenizer(self) -> Any:
        """Return the tokeniser of texts."""
        from transformers import AutoTokenizer

        return self._load(AutoTokenizer.from_pretrained)

    def model(self, config: Any, dtype: torch.dtype, device: torch.device) -> Any:
        """Return the model on a device; CheckpointError if weights are missing from its files."""
        loaded, about = self._load(
            model_class(config).from_pretrained, config=config, dtype=dtype, output_loading_info=True
        )
        if about["missing_keys"]:
            raise CheckpointError(
                f"the files of {self.weights.name} lack {len(about['missing_keys'])} weights, such as "
                f"{min(about['missing_keys'])}; download or save the model again.",
                field="model",
            )
        return loaded.eval().to(device)

    def located(self) -> Weights:
        """Return the weights with the folder that they were loaded from."""
        if self.weights.folder is not None:
            return self.weights
        from huggingface_hub import try_to_load_from_cache

        config = try_to_load_from_cache(self.weights.name, "config.json")
        return Weights(self.weights.name, Path(config).parent if isinstance(config, str) else None)

    def _load(self, load: Callable[..., _Loaded], **options: object) -> _Loaded:
        """Load one part from this machine, or else download it; errors are CheckpointError in a sentence."""
        place = str(self.weights.folder or self.weights.name)
        if not self._downloading:
            try:
                with _quiet():
                    return load(place, local_files_only=True, **options)
            except OSError as error:  # which transformers raises for files that are missing
                if self.weights.folder is not None:
                    raise self._unusable(error) from None
            except Exception as error:  # of many kinds, for files that are damaged
                raise self._unusable(error) from None
            self._downloading = True
            self._note(ABOUT_LICENCE)
        try:
            return load(place, **options)
        except OSError as error:
            raise CheckpointError(
                f"{place} is not on this machine and could not be downloaded ({_first_line(error)}); connect to the "
                f"internet, choose one of {', '.join(RELEASED)}, or pass a model's folder.",
                field="model",
            ) from None
        except Exception as error:
            raise self._unusable(error) from None

    def _unusable(self, error: Exception) -> CheckpointError:
        return CheckpointError(
            f"{self.weights.name} could not be loaded ({_first_line(error)}); download or save the model again.",
            field="model",
        )


def model_class(config: Any) -> Any:
    """Return the class of transformers for a configuration."""
    import transformers

    return getattr(transformers, CLASSES[config.model_type])


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from reporting on stderr what is normal, and from showing bars for reading files."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _first_line(error: Exception) -> str:
    """Return an error's first line without its full stop, as part of a sentence."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__).strip().rstrip(".")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(2**22):
            digest.update(piece)
    return digest.hexdigest()
