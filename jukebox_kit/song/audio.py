"""Audio in and out: recordings as prompts, items as files."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import soundfile
from numpy.typing import NDArray

from jukebox_kit._files import printable
from jukebox_kit.errors import AudioError

Audio = NDArray[np.float32]

SILENCE = 1e-4  # peak; 80 dB under full scale

PIECE = 2**16  # samples handed to an encoder at once: that of ogg overflows the stack when it gets minutes


def read_recording(path: Path, sr: int, seconds: float | None = None) -> Audio:
    """Return the first `seconds` of a recording as mono at rate `sr`, (samples,) float32 in [-1, 1].

    Any format and rate that soundfile or librosa reads; channels are averaged. AudioError, about the field `prompt`,
    if the file is missing, unreadable, empty or silent.
    """
    if not path.is_file():
        raise AudioError(f"there is no recording {path}.", field="prompt")
    audio, rate = _decode(path, seconds)
    if not audio.size or not np.isfinite(audio).all():
        raise AudioError(f"{path} contains no usable audio; choose a recording with sound in it.", field="prompt")
    if rate != sr:
        import librosa  # slow to import, and needed for other rates only

        audio = cast(Any, librosa).resample(audio, orig_sr=rate, target_sr=sr)
    if float(np.abs(audio).max()) < SILENCE:
        raise AudioError(f"{path} is silent; choose a recording with sound in it.", field="prompt")
    return np.clip(audio, -1.0, 1.0).astype(np.float32)


def _decode(path: Path, seconds: float | None) -> tuple[Audio, int]:
    try:
        with soundfile.SoundFile(os.fsencode(path)) as file:
            frames = -1 if seconds is None else int(seconds * file.samplerate)
            data: Audio = file.read(frames, dtype="float32", always_2d=True)
            return data.mean(1), int(file.samplerate)
    except (soundfile.LibsndfileError, RuntimeError):
        return _decode_by_librosa(path, seconds)


def _decode_by_librosa(path: Path, seconds: float | None) -> tuple[Audio, int]:
    """Read what soundfile does not, such as m4a where ffmpeg is installed."""
    import librosa

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # librosa warns that it tries a second reader, which is what we want
            audio, rate = cast(Any, librosa).load(path, sr=None, mono=True, duration=seconds)
    except Exception as error:  # librosa's readers raise whatever theirs do
        raise AudioError(
            f"{path} cannot be read as audio ({type(error).__name__}); convert it to WAV, FLAC or MP3.",
            field="prompt",
        ) from None
    return np.asarray(audio, np.float32), int(rate)


def audio_samples(path: Path) -> int:
    """Return how many samples a file holds, 0 where there is none or it cannot be read."""
    try:
        return int(soundfile.info(os.fsencode(path)).frames)
    except (soundfile.LibsndfileError, RuntimeError, OSError):
        return 0


def wav_bytes(audio: Audio, sr: int) -> bytes:
    """Return (samples,) or (samples, channels) in [-1, 1] as a 16-bit WAV file, clipped at full scale."""
    return audio_bytes(audio, sr, "wav", "PCM_16")


def audio_bytes(
    audio: Audio, sr: int, format: str, subtype: str | None = None, tags: Mapping[str, str] | None = None
) -> bytes:
    """Return (samples,) or (samples, channels) in [-1, 1] as a file of a format: wav, flac, mp3 or ogg; clipped.

    subtype: soundfile's name of how samples are kept, the format's usual one if left out. tags: title, artist, comment.
    AudioError where the format cannot be written at this rate, or by the libsndfile of this machine.
    """
    buffer = io.BytesIO()
    try:
        _encode(buffer, audio, sr, format.upper(), subtype, tags)
    except (soundfile.LibsndfileError, ValueError):
        raise AudioError(f"{format} cannot be written at {sr} Hz on this machine; choose wav or flac.") from None
    return buffer.getvalue()


def _encode(
    target: io.BytesIO | Path,
    audio: Audio,
    sr: int,
    format: str | None = None,
    subtype: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    clipped = np.clip(np.asarray(audio), -1.0, 1.0)
    channels = 1 if clipped.ndim == 1 else clipped.shape[1]
    with soundfile.SoundFile(
        os.fsencode(target) if isinstance(target, Path) else target, "w", sr, channels, subtype, format=format
    ) as file:
        for name, words in (tags or {}).items():
            setattr(file, name, printable(words))
        for first in range(0, len(clipped), PIECE):
            file.write(clipped[first : first + PIECE])


def save_audio(audio: Audio, path: str | Path, sr: int | None = None) -> Path:
    """Write audio, (samples,) in [-1, 1], in the format that the name's ending says (wav, flac, mp3, ogg).

    sr defaults to the rate that the array came with from `generate`, else 44100. Returns the path.
    """
    path = Path(path)
    rate = sr or int(getattr(audio, "sr", 44100))
    known = {name.lower() for name in cast("dict[str, str]", soundfile.available_formats())} | {"mp3"}
    if path.suffix[1:].lower() not in known:
        raise AudioError(f"{path.name} has no supported audio file extension; use wav, flac, mp3 or ogg.")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        _encode(path, audio, rate)
    except (soundfile.LibsndfileError, OSError) as error:
        raise AudioError(f"{path} could not be written ({error}); choose another place.") from None
    return path


class SampledAudio(np.ndarray[Any, np.dtype[np.float32]]):
    """Audio (samples,) float32 that knows its rate, `sr`, in samples a second."""

    sr: int

    @classmethod
    def of(cls, audio: Audio, sr: int) -> SampledAudio:
        """Return a view of `audio` with its rate."""
        view = np.asarray(audio, np.float32).view(cls)
        view.sr = sr
        return view

    def __array_finalize__(self, parent: object) -> None:
        """Keep the rate in views and slices."""
        self.sr = int(getattr(parent, "sr", 44100))
