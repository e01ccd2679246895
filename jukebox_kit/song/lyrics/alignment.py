"""Aligns lyrics with music: which characters the top prior's alignment head attends to at each moment of a song.

Alignments are computed at the end of level 2, while the top prior is loaded, and saved in
level_2/alignment.safetensors; they can be computed again from the codes. Since a frame's weights lie within one window
of the lyrics, only that part is saved: `item_0.weights` (frames, saved characters) float16, and `item_0.first`
(frames,), the index of the first of them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from jukebox_kit.engine import Model, threads_for, window_starts
from jukebox_kit.errors import ConfigurationError, SongError
from jukebox_kit.model import TOP, Prior, PriorConfig, label_rows, lyric_text
from jukebox_kit.model.weights import read_metadata, with_sorted_metadata
from jukebox_kit.song.codes import LevelCodes
from jukebox_kit.song.files import ALIGNMENT
from jukebox_kit.song.lyrics.timing import Line, sung_lines, sung_words
from jukebox_kit.song.request import load_model
from jukebox_kit.song.song import Song
from jukebox_kit.song.state import SongState

log = logging.getLogger(__name__)

FRAME_SECONDS = 0.1  # rounded to whole tokens

Saved = tuple[NDArray[np.float16], NDArray[np.int32]]


@dataclass(frozen=True, eq=False)
class Alignment:
    """The attention to each character of `text`, (frames, characters) float32, a frame every `frame_seconds`.

    text: the lyrics as the model reads them. Weights are means of a softmax that also covers other positions, and are
    not normalised again; they are 0 for characters outside the window of lyrics that the model saw.
    """

    weights: NDArray[np.float32]
    frame_seconds: float
    text: str

    def __post_init__(self) -> None:
        if self.weights.ndim != 2 or self.weights.shape[1] != len(self.text) or not self.frame_seconds > 0:
            raise ValueError(f"weights of the shape {self.weights.shape} do not fit {len(self.text)} characters")


def follow(alignment: Alignment) -> tuple[Line, ...]:
    """Return when each line of the lyrics is sung, without the lines that are not."""
    return sung_lines(alignment.weights, alignment.text, alignment.frame_seconds)


def follow_words(alignment: Alignment) -> tuple[tuple[Line, ...], ...]:
    """Return when each word of those lines is sung, line by line."""
    return sung_words(alignment.weights, alignment.text, alignment.frame_seconds)


def can_align(state: SongState) -> bool:
    """Return whether the song has lyrics, and its top prior an alignment head."""
    top = state.definition.top
    return None not in (top.alignment_layer, top.alignment_head) and bool(state.resolved.labels[TOP].tokens)


def align(state: SongState, item: int, prior: Prior, between: Callable[[], None] | None = None) -> Alignment:
    """Return the alignment of what is sampled of an item's level 2 with the present lyrics of the song.

    prior: the song's top prior. Every half window is run as a whole plain forward, and each moment is taken from the
    first window that reaches it, so that at least half a window stands before it, or the song's start. `between` is
    called before each. Raises ConfigurationError for a part without an alignment head, SongError for a song without
    lyrics or without that item.
    """
    check_lyrics(state, prior.config)
    if not 0 <= item < state.request.items:
        raise SongError(f"{state.shown_path} has items 0 to {state.request.items - 1}, not {item}.")
    level = state.level(TOP)
    device = next(prior.parameters()).device
    codes = torch.from_numpy(level.codes[item, : level.made[item]].astype(np.int64)).to(device)
    size = frame_tokens(prior.config.n_ctx, prior.hop, state.sr)
    frames, window = math.ceil(len(codes) / size), prior.config.n_ctx // size
    text = _text(state)
    weights = np.zeros((frames, len(text)), np.float32)
    done = 0
    for start in window_starts(frames, window, max(1, window // 2)) if frames else ():
        if between is not None:
            between()
        piece = codes[start * size : (start + window) * size]
        means, first = _window(state, prior, piece, start * size, size)
        weights[done : start + window, first : first + means.shape[1]] = means[done - start :]
        done = start + window
    return Alignment(weights, size * prior.hop / state.sr, text)


def check_lyrics(state: SongState, top: PriorConfig) -> None:
    """Raise ConfigurationError for a top prior without an alignment head, SongError for a song without lyrics."""
    if top.alignment_layer is None or top.alignment_head is None or not top.use_tokens:
        raise ConfigurationError(
            f"the top prior of {state.request.model} has no alignment_layer and alignment_head that read lyrics; "
            f"choose another model."
        )
    if not state.resolved.labels[TOP].tokens:
        raise SongError(f"{state.shown_path} has no lyrics to align; create a song that has some.")


def _text(state: SongState) -> str:
    """Return the lyrics as the top prior reads them."""
    return lyric_text(state.resolved.labels[TOP].tokens, state.definition.top.label_set)


def frame_tokens(n_ctx: int, hop: int, sr: int) -> int:
    """Return the number of tokens in a frame; a window of at least two tokens has at least two frames."""
    return max(1, min(round(FRAME_SECONDS * sr / hop), n_ctx // 2))


@torch.no_grad()
def _window(
    state: SongState, prior: Prior, codes: torch.Tensor, start: int, size: int
) -> tuple[NDArray[np.float32], int]:
    """Return the mean weights of a window's frames, (frames, characters it sees), and the index of the first character.

    codes: (L ≤ n_ctx,) int64, from token `start` on.
    """
    labels, config = state.resolved.labels[TOP], prior.config
    conditioning = prior.condition(label_rows([labels], config, prior.hop, start, codes.device))
    weights = prior.alignment(codes[None], conditioning)[0]  # (L, n_tokens)
    _, first = labels.lyric_window(config, prior.hop, start)
    weights = weights[:, max(0, -first) :]  # without the padding to the left of the lyrics
    sums = F.pad(weights, (0, 0, 0, -len(weights) % size)).view(-1, size, weights.shape[1]).sum(1)
    counts = torch.full((len(sums), 1), float(size), device=sums.device)
    counts[-1] -= -len(weights) % size
    return (sums / counts).cpu().numpy(), max(0, first)


def aligned_items(state: SongState) -> set[int]:
    """Return the items whose present codes and lyrics have a saved alignment."""
    return set(_read(state))


def read_alignments(state: SongState) -> Iterator[tuple[int, Alignment]]:
    """Yield every item whose present codes and lyrics have a saved alignment, and the alignment."""
    top, sr = state.definition.top, state.sr
    text, hop = _text(state), state.definition.vqvae.hops[TOP]
    for item, saved in _read(state).items():
        yield item, Alignment(_spread(saved, len(text)), frame_tokens(top.n_ctx, hop, sr) * hop / sr, text)


def write_alignments(state: SongState, prior: Prior, between: Callable[[], None] | None = None) -> None:
    """Compute and save the alignments that are missing for the present codes and lyrics; under `song.locked`.

    between: called before each window; if it raises, nothing is written. Raises as `align` does.
    """
    saved = _read(state)
    with threads_for(prior.config):
        missing = [item for item in state.items(TOP) if item not in saved]
        saved |= {item: _narrowed(align(state, item, prior, between).weights) for item in missing}
    if not missing:
        return
    arrays: dict[str, NDArray[Any]] = {}
    for item, (weights, first) in saved.items():
        arrays |= {f"item_{item}.weights": weights, f"item_{item}.first": first}
    level = state.level(TOP)
    marks = {f"item_{item}": _mark(state, level, item, content) for item, content in saved.items()}
    text = _text(state)
    state.store.write(ALIGNMENT, with_sorted_metadata(save(arrays, {"text": text, **marks})))


def try_alignments(state: SongState, prior: Prior, between: Callable[[], None] | None = None) -> None:
    """Call `write_alignments` if the song can be aligned; if memory or the device do not allow it, only warn.

    A song is complete without alignments, so that is not an error.
    """
    if not can_align(state):
        return
    try:
        write_alignments(state, prior, between)
    except (RuntimeError, MemoryError) as error:  # torch's out-of-memory errors are RuntimeErrors
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        log.warning(
            "the lyrics of %s were not aligned (%s); the song itself is not affected.", state.shown_path, reason
        )
        error.__traceback__ = None  # it refers to what filled the memory
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def ensure_alignments(song: Song, model: Model | None = None) -> None:
    """Compute the missing alignments of a song that can have them; loads the top prior only if there are any.

    SongError if the song is being worked on, or if the model's files are not those that it was created with.
    """
    state = song.state
    if not can_align(state) or aligned_items(state).issuperset(state.items(TOP)):
        return
    with song.locked() as state:
        loaded = model or load_model(state.request)
        song.check_model(loaded)
        write_alignments(state, loaded.top)


def _read(state: SongState) -> dict[int, Saved]:
    """Return the saved alignments that belong to the present codes and lyrics, by item."""
    content = state.store.read(ALIGNMENT)
    if content is None:
        return {}
    try:
        arrays, metadata = load(content), read_metadata(content)
        saved = {item: (arrays[f"item_{item}.weights"], arrays[f"item_{item}.first"]) for item in _named(metadata)}
    except (SafetensorError, KeyError, ValueError, TypeError):  # damaged or incomplete
        return {}
    level = state.level(TOP)
    items = [item for item in state.items(TOP) if item in saved]
    return {item: saved[item] for item in items if metadata[f"item_{item}"] == _mark(state, level, item, saved[item])}


def _named(metadata: dict[str, str]) -> list[int]:
    return [int(name.removeprefix("item_")) for name in metadata if name.startswith("item_")]


def _mark(state: SongState, level: LevelCodes, item: int, saved: Saved) -> str:
    """Return the sha256 of an item's codes, its labels, which include the lyrics, and the saved alignment."""
    digest = hashlib.sha256(json.dumps(state.resolved.fields()["labels"][TOP]).encode())
    for values in (level.codes[item, : level.made[item]], *saved):
        digest.update(str(values.shape).encode() + np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def _narrowed(weights: NDArray[np.float32]) -> Saved:
    """Return weights as float16 without the zeros on both sides, and the index of each frame's first character."""
    halves = weights.astype(np.float16)
    used = halves != 0
    first = used.argmax(1)
    spans = np.where(used.any(1), used.shape[1] - used[:, ::-1].argmax(1) - first, 0)
    width = int(spans.max(initial=0))
    first = np.minimum(first, used.shape[1] - width)
    return np.take_along_axis(halves, first[:, None] + np.arange(width), 1), first.astype(np.int32)


def _spread(saved: Saved, characters: int) -> NDArray[np.float32]:
    """Return the weights that `_narrowed` was called with, as float32 with the precision of float16."""
    halves, first = saved
    weights = np.zeros((len(halves), characters), np.float32)
    np.put_along_axis(weights, first[:, None] + np.arange(halves.shape[1]), halves.astype(np.float32), 1)
    return weights
