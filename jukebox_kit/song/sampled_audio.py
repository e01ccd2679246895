"""Audio that knows its sample rate, and has none where a rate would be a guess."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jukebox_kit._values import checked
from jukebox_kit.errors import AudioError, RequestError

HIGHEST_RATE = 2**31 - 1  # what the header of an audio file can hold

# Functions of numpy that return new memory in which samples are as far apart as before; others need no list.
_KEEPING: set[Callable[..., Any]] = {
    *(np.concatenate, np.block, np.pad, np.tile, np.where, np.convolve),
    *(np.copyto, np.put, np.place, np.putmask),  # into audio
}


def checked_rate(sr: object) -> int:
    """Return a sample rate in samples a second; AudioError if it is not a whole number above 0."""
    try:
        rate: int = checked("sr", sr, int)
    except RequestError:
        rate = 0
    if not 0 < rate <= HIGHEST_RATE:
        raise AudioError(
            f"sr must be a whole number of samples a second above 0, such as 44100, not {sr!r}.", field="sr"
        )
    return rate


class SampledAudio(np.ndarray[Any, np.dtype[np.float32]]):
    """Audio (samples,) float32 that knows its rate, `sr`, in samples a second.

    Slices, copies, arithmetic, joining, stacking, mixing down, padding and pickling keep the rate. What may change how
    far apart in time samples are, such as audio[::2], repeats and reshaping, gives an array without `sr`, and so do
    files and other libraries. AudioError where audio of two rates is combined.
    """

    sr: int

    @classmethod
    def of(cls, audio: ArrayLike, sr: int) -> SampledAudio:
        """Return a view of `audio` with its rate."""
        view = np.asarray(audio, np.float32).view(cls)
        view.sr = checked_rate(sr)
        return view

    def __array_finalize__(self, parent: object) -> None:
        """Keep the rate in copies and in views that have whole axes of the array, or stretches of them."""
        if isinstance(parent, SampledAudio) and hasattr(parent, "sr") and _as_far_apart(self, parent):
            self.sr = parent.sr

    def __array_ufunc__(self, ufunc: np.ufunc, method: Any, *inputs: Any, **options: object) -> Any:
        """Compute with plain arrays; the result has the rate if it is audio, sample by sample, not yes or no."""
        answers = not {"f->?", "ff->?"}.isdisjoint(ufunc.types)
        keeps = not answers and ufunc.signature is None and method != "reduceat"
        sr = _common_rate((inputs, options.get("out"))) if keeps else None
        result = getattr(ufunc, method)(*_plain(inputs), **_plain(options))
        out = cast("tuple[Any, ...]", options.get("out") or ())
        if any(array is not None for array in out):
            return out[0] if len(out) == 1 else out
        return _rated(result, sr)

    def __array_function__(self, func: Callable[..., Any], types: Any, args: Any, kwargs: Any) -> Any:
        """Keep the rate in functions of numpy that do not change how far apart samples are."""
        if func not in _KEEPING:
            return super().__array_function__(func, types, args, kwargs)
        sr = _common_rate((args, kwargs))
        return _rated(func(*_plain(args), **_plain(kwargs)), sr)

    def __setitem__(self, key: Any, value: Any) -> None:
        """Write samples; AudioError if they have another rate."""
        _common_rate((self, value))
        super().__setitem__(key, value)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the rate with the array."""
        rebuild, args, state = cast("tuple[Any, Any, Any]", super().__reduce__())
        return rebuild, args, (state, self.__dict__)

    def __setstate__(self, state: Any) -> None:
        """Read what `__reduce__` returned."""
        super().__setstate__(state[0])
        self.__dict__.update(state[1])


def _as_far_apart(array: NDArray[Any], parent: NDArray[Any]) -> bool:
    """Return whether an array made of `parent` has its axes, in any order, whole or in part, or is as large."""
    if array.shape == parent.shape or not array.size:
        return True
    if not np.may_share_memory(_plain(array), _plain(parent)):
        return False
    axes = list(zip(parent.strides, parent.shape, strict=True))
    for stride, length in zip(array.strides, array.shape, strict=True):
        axis = next(((s, whole) for s, whole in axes if abs(s) == abs(stride) and length <= whole), None)
        if axis is not None:
            axes.remove(axis)
        elif length > 1:
            return False
    return True


def _plain(value: Any) -> Any:
    """Return an argument with plain arrays in the place of audio."""
    if isinstance(value, SampledAudio):
        return value.view(np.ndarray)
    if isinstance(value, list | tuple):
        return type(value)(_plain(one) for one in value)
    return {name: _plain(one) for name, one in value.items()} if isinstance(value, dict) else value


def _rates(value: Any) -> Iterator[int]:
    if isinstance(value, SampledAudio) and hasattr(value, "sr"):
        yield value.sr
    elif isinstance(value, list | tuple | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _rates(one)


def _common_rate(value: Any) -> int | None:
    """Return the rate of all audio in arguments, None if none has one; AudioError if there are two."""
    rates = sorted(set(_rates(value)))
    if len(rates) > 1:
        raise AudioError(f"audio at {rates[0]} Hz and at {rates[1]} Hz cannot be combined; resample one of them first.")
    return rates[0] if rates else None


def _rated(result: Any, sr: int | None) -> Any:
    """Return a result with its rate where it is an array of real numbers."""
    if isinstance(result, tuple):
        return tuple(_rated(one, sr) for one in result)
    if sr is None or not isinstance(result, np.ndarray) or not result.ndim or result.dtype.kind not in "fiu":
        return result
    view = result.view(SampledAudio)
    view.sr = sr
    return view


def mixed_down(audio: NDArray[np.float32], silence: float, note: Callable[[str], object]) -> NDArray[np.float32]:
    """Return the mean of the channels, (samples, channels) → (samples,); silent ones beside others are left out.

    silence: the peak below which a channel is silent. note: gets a sentence if some are.
    """
    if audio.shape[1] > 1 and len(audio):
        peaks = np.maximum(audio.max(0), -audio.min(0))
        dead = np.flatnonzero(peaks < silence)
        if 0 < len(dead) < audio.shape[1]:
            note(f"{len(dead)} of its {audio.shape[1]} channels are silent and were left out.")
            audio = np.delete(audio, dead, 1)
    with np.errstate(all="ignore"):  # a file may hold infinity
        mean: NDArray[np.float32] = audio.mean(1)
    return mean
