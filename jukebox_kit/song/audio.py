"""Audio in and out: recordings as prompts, items as files."""

from __future__ import annotations

import io
import logging
import math
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import soundfile
from numpy.typing import ArrayLike, NDArray

from jukebox_kit._files import explain, replacing, user_path
from jukebox_kit.errors import AudioError
from jukebox_kit.song.sampled_audio import HIGHEST_RATE, SampledAudio, checked_rate, mixed_down
from jukebox_kit.song.tags import Tags, info_strings, with_tags

log = logging.getLogger(__name__)
Audio = NDArray[np.float32]
Note = Callable[[str], object]  # takes a sentence for the user

SILENCE = 1e-4  # peak; 80 dB under full scale

OVERSHOOT = 10 ** (1 / 20)  # a peak 1 dB above full scale, which lossy formats and resampling cause in loud music

UNRECOGNISED = 1  # libsndfile's code for a file of no known format
READ = 2**12  # frames read in one call, of which all are lost if one is damaged
PIECE = 2**16  # frames written in one call: the Ogg encoder overflows the stack when it gets minutes

_RATES = {  # the formats that are written, with the rates that they hold; beyond its own, the Ogg encoder crashes
    "wav": range(1, HIGHEST_RATE + 1),
    "flac": range(1, 655_351),
    "mp3": (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
    "ogg": range(1, 200_001),
}


def read_recording(
    path: Path,
    sr: int,
    seconds: float | None = None,
    note: Note = log.warning,
    stereo: bool = False,
    limit: bool = True,
) -> SampledAudio:
    """Return the first `seconds` of a recording, by default all of it, as mono at rate `sr`, (samples,) in [-1, 1].

    Any format and rate that soundfile or audioread reads; channels are averaged. stereo: return the first two channels
    instead, (samples, 2), of mono the same twice. A recording that exceeds full scale by more than 1 dB is turned down
    to it, by less it is clipped, unless `limit` is false. note: gets a sentence if it was turned down, or if the file
    breaks off. AudioError, about the field `prompt`, if the file is missing, unreadable, empty or silent.
    """
    _check_file(path)
    audio, rate = _decode(path, seconds, note)
    if not 0 < rate <= HIGHEST_RATE:
        raise _unusable(path, f"its header states a rate of {rate} Hz; save it again")
    if stereo:
        audio = np.broadcast_to(audio[:, :2], (len(audio), 2))
    else:
        audio = mixed_down(audio, SILENCE, lambda what: note(f"{path}: {what}"))
    if not audio.size:
        raise _unusable(
            path,
            f"its header states no samples, in a file of {path.stat().st_size} bytes; it is empty or "
            f"incomplete, so save or download it again",
        )
    wrong = audio.size - np.count_nonzero(np.isfinite(audio))
    if wrong:
        raise _unusable(path, f"{wrong} of its {audio.size} samples are NaN or infinite; save it again without them")
    peak = float(np.abs(audio).max())
    if limit and peak > OVERSHOOT:
        note(f"{path} exceeds full scale by {20 * math.log10(peak):.1f} dB and was turned down by as much.")
        audio = audio / np.float32(peak)
    if rate != sr:
        import librosa  # slow to import, and needed for other rates only

        audio = cast(Any, librosa).resample(audio, orig_sr=rate, target_sr=sr, axis=0)
    if is_silent(audio):
        cut = seconds is not None and len(audio) > (seconds - 0.001) * sr
        raise _silent(path, sr, seconds if cut else None)
    return SampledAudio.of(np.clip(audio, -1.0, 1.0) if limit else audio, sr)


def is_silent(audio: Audio) -> bool:
    """Return whether audio in [-1, 1] is silent, as empty audio is."""
    return float(np.abs(audio).max(initial=0.0)) < SILENCE


def _check_file(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise AudioError(f"the path {str(path)!r} is not UTF-8; rename the recording.", field="prompt") from None
    if os.path.isdir(path):  # noqa: PTH112 raises for an impossible name
        raise AudioError(f"{path} is a folder; choose a recording.", field="prompt")
    if not os.path.isfile(path):  # noqa: PTH113 likewise
        raise AudioError(f"there is no recording {path}.", field="prompt")


def _unusable(path: Path, why: str) -> AudioError:
    return AudioError(f"{path} contains no usable audio: {why}.", field="prompt")


def _silent(path: Path, sr: int, seconds: float | None) -> AudioError:
    """Return the error for a recording that is silent, or whose first `seconds` are."""
    what = f"{path} is" if seconds is None else f"the first {seconds:g} seconds of {path} are"
    cure = "choose a recording with sound in it"
    if seconds is not None:
        cure = "cut them off, or use more of the recording with prompt-seconds"
    return AudioError(f"{what} silent as mono at {sr} Hz; {cure}.", field="prompt")


def _decode(path: Path, seconds: float | None, note: Note) -> tuple[Audio, int]:
    """Return the first `seconds` of a file, or all, (samples, channels), not clipped, and its rate."""
    try:
        with _opened(path) as file:
            rate, frames = int(file.samplerate), file.frames
            wanted = frames if seconds is None else min(int(max(min(seconds, frames) * rate, 1)), frames)
            try:
                with np.errstate(all="ignore"):  # a file may hold infinity
                    audio: Audio = file.read(wanted, dtype="float32", always_2d=True)
            except (soundfile.LibsndfileError, MemoryError, ValueError):  # it is damaged, or states an absurd length
                audio = _decode_in_pieces(path, wanted)
            if len(audio) + rate / 10 < wanted:
                note(
                    f"{path} breaks off after {len(audio) / rate:.1f} seconds, although its header states more; it is "
                    f"incomplete or damaged, and only these are used."
                )
            return audio, rate
    except OSError as error:
        raise AudioError(f"{path} cannot be opened ({error.strerror}); make it readable.", field="prompt") from None
    except soundfile.SoundFileError as error:
        return _decode_by_audioread(path, seconds, getattr(error, "code", 0))


def _opened(path: Path) -> Any:
    """Return a file as soundfile reads it, without its name: .raw would be a format whose rate it must be given."""
    return soundfile.SoundFile(os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0)))


def _decode_in_pieces(path: Path, wanted: int) -> Audio:
    """Return up to `wanted` frames of a file, (samples, channels): those before the first that cannot be decoded.

    LibsndfileError if there are none. Other files are read in one call, because after each soundfile seeks, which is
    not exact in MP3.
    """
    pieces: list[Audio] = []
    with _opened(path) as file:
        while sum(map(len, pieces)) < wanted:
            try:
                data = file.read(min(READ, wanted), dtype="float32", always_2d=True)
            except soundfile.LibsndfileError:
                if not pieces:
                    raise
                break
            if not len(data):
                break
            pieces.append(data)
    return np.concatenate(pieces)[:wanted] if pieces else np.zeros((0, 1), np.float32)


def _decode_by_audioread(path: Path, seconds: float | None, code: int) -> tuple[Audio, int]:
    """Read what soundfile does not, such as m4a where ffmpeg is installed; code: libsndfile's, of what was wrong."""
    limit = seconds if seconds is not None and seconds < sys.maxsize / HIGHEST_RATE else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # these readers are deprecated in librosa, and others do not replace them
            import audioread
            import librosa

            # With a reader, as by its name it would take an .au or .vox file without a header for a certain format.
            with audioread.audio_open(str(path)) as reader:
                audio, rate = cast(Any, librosa).load(reader, sr=None, mono=False, duration=limit)
    except Exception:  # the readers raise errors of many kinds
        unknown = "it has no header of a known format; convert it to WAV, FLAC or MP3"
        broken = "it is incomplete or damaged; save or download it again"
        why = unknown if code == UNRECOGNISED else broken
        raise AudioError(f"{path} cannot be read as audio: {why}.", field="prompt") from None
    return np.atleast_2d(np.asarray(audio, np.float32)).T, int(rate)


def audio_samples(path: Path) -> int:
    """Return how many samples a file holds, 0 if it does not exist or cannot be read."""
    try:
        return int(soundfile.info(os.fsencode(path)).frames)
    except (soundfile.LibsndfileError, RuntimeError, OSError):
        return 0


def wav_bytes(audio: Audio, sr: int, tags: Tags | None = None) -> bytes:
    """Return (samples,) or (samples, channels) in [-1, 1] as a 16-bit WAV file, clipped at full scale."""
    return audio_bytes(audio, sr, "wav", "PCM_16", tags)


def audio_bytes(
    audio: NDArray[np.floating[Any]],
    sr: int,
    format: str,
    subtype: str | None = None,
    tags: Tags | None = None,
) -> bytes:
    """Return (samples,) or (samples, channels) in [-1, 1] as a file of a format: wav, flac, mp3 or ogg; clipped.

    subtype: soundfile's name of how samples are stored, by default the format's usual one. AudioError if the format
    cannot hold this rate, or cannot be written by the libsndfile of this machine.
    """
    clipped = np.clip(np.asarray(audio), -1.0, 1.0)
    channels = 1 if clipped.ndim == 1 else clipped.shape[1]
    buffer = io.BytesIO()
    try:
        if sr not in _RATES[format]:
            raise ValueError(sr)
        with soundfile.SoundFile(buffer, "w", sr, channels, subtype, format=format.upper()) as file:
            for name, text in info_strings(tags).items() if tags and format == "wav" else ():
                setattr(file, name, text)
            for first in range(0, len(clipped), PIECE):
                file.write(clipped[first : first + PIECE])
    except (soundfile.LibsndfileError, ValueError):
        others = " or ".join(name for name in ("wav", "flac") if name != format and sr in _RATES[name])
        raise AudioError(f"{format} cannot be written at {sr} Hz on this machine; choose {others}.") from None
    return buffer.getvalue() if tags is None else with_tags(buffer.getvalue(), format, tags)


def save_audio(audio: ArrayLike, path: str | Path, sr: int | None = None) -> Path:
    """Write audio in the format of the file name's ending: wav, flac, mp3 or ogg. Returns the path.

    audio: an array or tensor of (samples,), or two channels, either axis first. Floats are in [-1, 1] and are clipped;
    int8, int16 and int32 are scaled by their range, uint8 is silent at 128. sr: samples a second, by default the
    audio's own, `audio.sr`. AudioError for a rate that is unknown or not a whole number above 0, for other types and
    shapes, empty audio and NaN, and for a format that cannot hold the rate.
    """
    if not isinstance(path, str | os.PathLike):
        raise AudioError(f"path must be the name of a file, such as song.wav, not {path!r}.", field="path")
    place = user_path(path)
    format = place.suffix[1:].lower()
    if format not in _RATES:
        raise AudioError(
            f"{place.name} has no supported audio file extension; use wav, flac, mp3 or ogg.", field="path"
        )
    rate = getattr(audio, "sr", None) if sr is None else sr
    if rate is None:
        raise AudioError("this audio has no sample rate of its own; pass it, such as sr=song.sr.", field="sr")
    rate = checked_rate(rate)
    samples = _samples_of(audio)
    peak = float(np.abs(samples).max())
    content = audio_bytes(samples, rate, format)
    if peak > OVERSHOOT:
        log.warning("%s was clipped: the audio's peak is %.3g, and full scale is 1.", place, peak)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with replacing(place, durable=False) as beside:
            beside.write_bytes(content)
    except OSError as error:
        raise AudioError(explain(place, error, "written"), field="path") from None
    except ValueError as error:  # a name with a NUL
        raise AudioError(f"{str(place)!r} cannot be written ({error}); choose another name.", field="path") from None
    return place


def _samples_of(audio: ArrayLike) -> NDArray[np.floating[Any]]:
    """Return an array or a tensor as (samples,) or (samples, 2) floats, full scale 1; AudioError if it is no audio."""
    array = _array_of(audio)
    kind, size = array.dtype.kind, array.dtype.itemsize
    samples: NDArray[np.floating[Any]]
    if kind == "f":
        samples = array.astype(np.float32 if size <= 4 else np.float64)
    elif kind == "i" and size <= 4:
        samples = array / 2.0 ** (8 * size - 1)
    elif (kind, size) == ("u", 1):
        samples = (array - 128.0) / 128
    else:
        raise AudioError(
            f"samples of type {array.dtype} cannot be saved; convert them to float32 in [-1, 1] or to int16.",
            field="audio",
        )
    if not samples.size and array.ndim:
        raise AudioError("this audio is empty; there is nothing to save.", field="audio")
    wrong = samples.size - np.count_nonzero(np.isfinite(samples))
    if wrong:
        raise AudioError(
            f"{wrong} of {samples.size} samples are NaN or infinite; replace them first, as np.nan_to_num does.",
            field="audio",
        )
    axes = [length for length in samples.shape if length != 1]
    if array.ndim and len(axes) <= 1:
        return samples.reshape(-1)
    if len(axes) == 2 and axes.count(2) == 1:
        stereo = samples.reshape(axes)
        return stereo.T if axes[0] == 2 else stereo
    raise AudioError(
        f"audio of the shape {array.shape} cannot be saved; pass (samples,), or (samples, 2) for stereo.", field="audio"
    )


def _array_of(audio: Any) -> NDArray[Any]:
    """Return an array or a tensor, on any device and with gradients, as a plain array."""
    torch = sys.modules.get("torch")  # without it, there are no tensors
    try:
        if torch is not None and isinstance(audio, torch.Tensor):
            audio = audio.detach().cpu()
            audio = (audio.float() if audio.dtype == torch.bfloat16 else audio).numpy()
        return np.asarray(audio)
    except (TypeError, ValueError, RuntimeError) as error:
        raise AudioError(f"this is not an array of samples ({error}); pass one.", field="audio") from None
