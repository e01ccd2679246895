"""Which stretch of the lyrics each window of the top prior reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jukebox_kit.model import TOP, lyric_text
from jukebox_kit.model.weights import ModelDefinition
from jukebox_kit.song.request import Resolved

SHORT = 60  # characters of a text that are shown in one line


@dataclass(frozen=True)
class Stretch:
    """What one window reads: `text` is lyrics[first:last]; start, end: of the window, in seconds of the song.

    due: the part of the lyrics that is sung in the window, as (first, last), if they have times.
    """

    start: float
    end: float
    first: int
    last: int
    text: str
    due: tuple[int, int] | None = None

    @property
    def ends(self) -> str:
        """The beginning and the end of the text, in one line."""
        return _shortened(self.text)

    @property
    def due_text(self) -> str:
        """What is sung in the window, in one line; empty if that is unknown."""
        if self.due is None:
            return ""
        first, last = self.due
        if first == last:
            return "nothing, a pause"
        sung = _shortened(self.text[max(first - self.first, 0) : last - self.first])
        unread = last - first - max(min(last, self.last) - max(first, self.first), 0)
        return sung + (f" ({unread} more characters do not fit)" if unread else "")


def stretches(resolved: Resolved, definition: ModelDefinition) -> tuple[Stretch, ...]:
    """Return the stretch of the lyrics that each window reads, as the model reads them; none without lyrics."""
    top, sr, hop = definition.top, definition.vqvae.sr, definition.vqvae.hops[TOP]
    labels, plan = resolved.labels[TOP], resolved.plans[TOP]
    if not top.use_tokens or not labels.tokens:
        return ()
    text, windows = lyric_text(labels.tokens, top.label_set), list[Stretch]()
    for start in plan.starts:
        _, index = labels.lyric_window(top, hop, start)
        first, last = max(index, 0), min(index + top.n_tokens, len(text))
        end = min(start + plan.n_ctx, plan.total) * hop / sr
        due = labels.due_in(top, hop, start) if labels.due else None
        windows.append(Stretch(start * hop / sr, end, first, last, text[first:last], due))
    return tuple(windows)


def stretch_lines(windows: Sequence[Stretch], most: int) -> Iterator[str]:
    """Yield a line of text for each window, for evenly chosen ones if there are more than `most`."""
    for window in windows[:: -(-len(windows) // most) or 1]:
        sung = f"; sung in it: {window.due_text}" if window.due is not None else ""
        yield (
            f"{window.start:6.1f} to {window.end:.1f} s reads characters {window.first + 1}-{window.last}: "
            f"{window.ends}{sung}"
        )


def _shortened(text: str) -> str:
    plain, half = " ".join(text.split()), SHORT // 2 - 2
    return plain if len(plain) <= SHORT else f"{plain[:half]} … {plain[-half:]}"
