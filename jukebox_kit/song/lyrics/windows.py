"""Which stretch of the lyrics each window of the top prior sees."""

from __future__ import annotations

from dataclasses import dataclass

from jukebox_kit.model import clean_lyrics, lyric_window
from jukebox_kit.model.weights import ModelDefinition
from jukebox_kit.song.request import Resolved


@dataclass(frozen=True)
class Stretch:
    """What one window sees: `text` is lyrics[first:last]; start, end: of the window, in seconds of the song."""

    start: float
    end: float
    first: int
    last: int
    text: str


def stretches(lyrics: str, resolved: Resolved, definition: ModelDefinition) -> tuple[Stretch, ...]:
    """Return the stretch of the lyrics that each window sees, as the model reads them; none if it reads no lyrics."""
    top, sr, hop = definition.top, definition.vqvae.sr, definition.vqvae.hops[-1]
    if not top.use_tokens or not lyrics:
        return ()
    text, labels, plan = clean_lyrics(lyrics, top.label_set), resolved.labels[-1], resolved.plans[-1]
    windows: list[Stretch] = []
    for start in plan.starts:
        offset, length = labels.offset + start * hop, top.n_ctx * hop
        _, index = lyric_window(list(labels.tokens), top.n_tokens, labels.total, offset, length)
        first, last = max(index, 0), min(index + top.n_tokens, len(text))
        end = min(start + plan.n_ctx, plan.total) * hop / sr
        windows.append(Stretch(start * hop / sr, end, first, last, text[first:last]))
    return tuple(windows)
