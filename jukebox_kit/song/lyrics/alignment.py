"""Which characters of the lyrics the model attends to at each moment of a song, by its own alignment layer and head.

level_2/alignment.safetensors holds it for every item, made when level 2 ends, while the top prior is there anyway. It
can be made again from the codes. A frame's weights lie within one window of the lyrics, so that part alone is kept:
`item_0.weights` (frames, kept characters) float16, and `item_0.first` (frames,), which character the first of them is.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from jukebox_kit.engine import Model, threads_for, window_starts
from jukebox_kit.errors import ConfigurationError, SongError
from jukebox_kit.model import TOP, Prior, clean_lyrics, label_rows, lyric_window
from jukebox_kit.model.weights import read_metadata
from jukebox_kit.song.codes import LevelCodes
from jukebox_kit.song.files import ALIGNMENT
from jukebox_kit.song.lyrics.timing import Line, sung_lines
from jukebox_kit.song.song import Song
from jukebox_kit.song.state import SongState

log = logging.getLogger(__name__)

FRAME = 0.1  # seconds, as near as whole tokens allow

Kept = tuple[NDArray[np.float16], NDArray[np.int32]]


@dataclass(frozen=True, eq=False)
class Alignment:
    """How much each character of `text` is attended to, (frames, characters) float32, a frame every `frame_seconds`.

    text: the lyrics as the model reads them. Weights are means of a softmax over more than the lyrics, not normalised
    again; they are 0 where a character was outside of the window of lyrics that the model saw.
    """

    weights: NDArray[np.float32]
    frame_seconds: float
    text: str

    def __post_init__(self) -> None:
        if self.weights.ndim != 2 or self.weights.shape[1] != len(self.text) or not self.frame_seconds > 0:
            raise ValueError(f"weights of the shape {self.weights.shape} do not fit {len(self.text)} characters")


def follow(alignment: Alignment) -> tuple[Line, ...]:
    """Return when each line of the lyrics is sung; lines that are never reached are left out."""
    return sung_lines(alignment.weights, alignment.text, alignment.frame_seconds)


def can_align(state: SongState) -> bool:
    """Return whether the song has lyrics and its top prior a layer and head that attend to them."""
    top = state.definition.top
    return None not in (top.alignment_layer, top.alignment_head) and bool(state.resolved.labels[TOP].tokens)


def align(state: SongState, item: int, prior: Prior, between: Callable[[], None] | None = None) -> Alignment:
    """Return the alignment of the part of an item's level 2 that is made, by the lyrics that the song has now.

    prior: the song's top prior. Every half window is run as a whole plain forward, and each moment is taken from the
    first window that reaches it, so that at least half a window stands before it, or the song's start. `between` is
    called before each. Raises ConfigurationError for a part without an alignment head, SongError for a song without
    lyrics or without that item.
    """
    _check(state, item, prior)
    found = state.level(TOP)
    device = next(prior.parameters()).device
    codes = torch.from_numpy(found.codes[item, : found.made[item]].astype(np.int64)).to(device)
    size = frame_tokens(prior.config.n_ctx, prior.hop, state.sr)
    frames, window = math.ceil(len(codes) / size), prior.config.n_ctx // size
    text = clean_lyrics(state.request.lyrics, prior.config.label_set)
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


def _check(state: SongState, item: int, prior: Prior) -> None:
    if prior.config.alignment_layer is None or prior.config.alignment_head is None or not prior.config.use_tokens:
        raise ConfigurationError(
            f"the top prior of {state.request.model} has no alignment_layer and alignment_head that read lyrics; use "
            f"another model."
        )
    if not state.resolved.labels[TOP].tokens:
        raise SongError(f"{state.shown_path} has no lyrics to align; create a song with lyrics.")
    if not 0 <= item < state.request.items:
        raise SongError(f"{state.shown_path} has items 0 to {state.request.items - 1}, not {item}.")


def frame_tokens(n_ctx: int, hop: int, sr: int) -> int:
    """Return how many tokens a frame has; a window has two frames at least, if it has two tokens."""
    return max(1, min(round(FRAME * sr / hop), n_ctx // 2))


@torch.no_grad()
def _window(
    state: SongState, prior: Prior, codes: torch.Tensor, start: int, size: int
) -> tuple[NDArray[np.float32], int]:
    """Return the means of a window's frames, (frames, characters it sees), and which character the first one is.

    codes: (L ≤ n_ctx,) int64, those from token `start` on.
    """
    labels, config = state.resolved.labels[TOP], prior.config
    given = prior.condition(label_rows([labels], config, prior.hop, start, codes.device))
    found = prior.alignment(codes[None], given)[0]  # (L, n_tokens)
    offset, length = labels.offset + start * prior.hop, config.n_ctx * prior.hop
    _, first = lyric_window(list(labels.tokens), config.n_tokens, labels.total, offset, length)
    found = found[:, max(0, -first) :]  # without what pads the lyrics on the left
    sums = F.pad(found, (0, 0, 0, -len(found) % size)).view(-1, size, found.shape[1]).sum(1)
    counts = torch.full((len(sums), 1), float(size), device=sums.device)
    counts[-1] -= -len(found) % size
    return (sums / counts).cpu().numpy(), max(0, first)


def aligned_items(state: SongState) -> set[int]:
    """Return the items whose present codes and lyrics have a saved alignment."""
    return set(_read(state))


def read_alignments(state: SongState) -> Iterator[tuple[int, Alignment]]:
    """Yield every item whose present codes and lyrics have a saved alignment, and the alignment."""
    top, sr = state.definition.top, state.sr
    text, hop = clean_lyrics(state.request.lyrics, top.label_set), state.definition.vqvae.hops[TOP]
    for item, saved in _read(state).items():
        yield item, Alignment(_spread(saved, len(text)), frame_tokens(top.n_ctx, hop, sr) * hop / sr, text)


def write_alignments(state: SongState, prior: Prior, between: Callable[[], None] | None = None) -> None:
    """Make and keep the alignment of every item that has none of its present codes and lyrics; under `song.locked`.

    `between` is called before each window; what it raises ends the work, with nothing written. Raises as `align` does.
    """
    kept = _read(state)
    with threads_for(prior.config):
        missing = [item for item in state.items(TOP) if item not in kept]
        kept |= {item: _narrowed(align(state, item, prior, between).weights) for item in missing}
    if not missing:
        return
    arrays: dict[str, NDArray[Any]] = {}
    for item, (weights, first) in kept.items():
        arrays |= {f"item_{item}.weights": weights, f"item_{item}.first": first}
    level = state.level(TOP)
    marks = {f"item_{item}": _mark(state, level, item, content) for item, content in kept.items()}
    text = clean_lyrics(state.request.lyrics, prior.config.label_set)
    state.store.write(ALIGNMENT, save(arrays, {"text": text, **marks}))


def try_alignments(state: SongState, prior: Prior, between: Callable[[], None] | None = None) -> None:
    """Do what `write_alignments` does where it can be done; what memory or the device do not allow is left out.

    A song is whole without it, so that is a warning and no error.
    """
    if not can_align(state):
        return
    try:
        write_alignments(state, prior, between)
    except (RuntimeError, MemoryError) as error:  # torch's own errors of memory are of the first kind
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        log.warning(
            "the lyrics of %s were not aligned (%s); the song itself is not affected.", state.shown_path, reason
        )
        error.__traceback__ = None  # it holds on to what filled the memory
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def ensure_alignments(song: Song, model: Model | None = None) -> None:
    """Make what is missing of a song's alignments, where it can have any; loads the top prior only if it must.

    Raises SongError where the song is being worked on, or the model's files are not those that it was made with.
    """
    state = song.state
    if not can_align(state) or aligned_items(state).issuperset(state.items(TOP)):
        return
    with song.locked() as state:
        loaded = model or Model.load(state.request.model)
        song.check_model(loaded)
        write_alignments(state, loaded.top)


def _read(state: SongState) -> dict[int, Kept]:
    """Return what is kept of the items whose codes and lyrics are still those of which it was made."""
    content = state.store.read(ALIGNMENT)
    if content is None:
        return {}
    try:
        arrays, metadata = load(content), read_metadata(content)
        found = {item: (arrays[f"item_{item}.weights"], arrays[f"item_{item}.first"]) for item in _named(metadata)}
    except (SafetensorError, KeyError, ValueError, TypeError):  # damaged, or not arrived whole
        return {}
    level = state.level(TOP)
    there = [item for item in state.items(TOP) if item in found]
    return {item: found[item] for item in there if metadata[f"item_{item}"] == _mark(state, level, item, found[item])}


def _named(metadata: dict[str, str]) -> list[int]:
    return [int(name.removeprefix("item_")) for name in metadata if name.startswith("item_")]


def _mark(state: SongState, level: LevelCodes, item: int, kept: Kept) -> str:
    """Return sha256 over an item's codes, its labels, lyrics among them, and the alignment made of those."""
    digest = hashlib.sha256(json.dumps(asdict(state.resolved.labels[TOP])).encode())
    for values in (level.codes[item, : level.made[item]], *kept):
        digest.update(str(values.shape).encode() + np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def _narrowed(weights: NDArray[np.float32]) -> Kept:
    """Return weights as float16 without the zeros to both sides, and which character each frame's first one is."""
    halves = weights.astype(np.float16)
    there = halves != 0
    first = there.argmax(1)
    spans = np.where(there.any(1), there.shape[1] - there[:, ::-1].argmax(1) - first, 0)
    width = int(spans.max(initial=0))
    first = np.minimum(first, there.shape[1] - width)
    return np.take_along_axis(halves, first[:, None] + np.arange(width), 1), first.astype(np.int32)


def _spread(kept: Kept, characters: int) -> NDArray[np.float32]:
    """Return what `_narrowed` was given, in float32, as exactly as float16 holds it."""
    halves, first = kept
    weights = np.zeros((len(halves), characters), np.float32)
    np.put_along_axis(weights, first[:, None] + np.arange(halves.shape[1]), halves.astype(np.float32), 1)
    return weights
