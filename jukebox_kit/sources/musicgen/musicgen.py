"""MusicGen as a source: loads the model, generates the request's recordings in batches, and describes each."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jukebox_kit._files import shown_path
from jukebox_kit.engine import usable_device
from jukebox_kit.errors import AudioError, RequestError, StoppedError
from jukebox_kit.song import SampledAudio, read_recording
from jukebox_kit.sources.musicgen.codec import Codec
from jukebox_kit.sources.musicgen.memory import planned_batch
from jukebox_kit.sources.musicgen.sampling import CONTEXT_SECONDS, TOP_K, WINDOW_SECONDS, Sampler, Track, guidance_of
from jukebox_kit.sources.musicgen.weights import Loader, Weights, find_weights
from jukebox_kit.sources.request import SourceRequest
from jukebox_kit.sources.source import Recording, SourceRun

log = logging.getLogger(__name__)

LONGEST_AUDIO = WINDOW_SECONDS  # of a recording that is continued


@dataclass(frozen=True)
class Prompt:
    """The recording that the results begin with: its codes (codebooks, frames), scales, and what is recorded of it."""

    codes: Tensor
    scales: list[Tensor | None]
    facts: dict[str, Any] | None = None


def open_musicgen(request: SourceRequest, run: SourceRun) -> MusicGen:
    """Load MusicGen for a request.

    RequestError if the device cannot be used or memory is short, CheckpointError for the model, AudioError for audio.
    """
    device = usable_device(run.device)
    half = run.precision == "float16" or (run.precision == "auto" and device.type == "cuda")
    if half and device.type == "cpu":
        raise RequestError("precision float16 needs a GPU; choose float32 or auto.", field="precision")
    if request.audio is not None:
        _recording(request, 32000, False, lambda _: None)  # wrong ones are refused before a download
    dtype = torch.float16 if half else torch.float32
    loader = Loader(find_weights(None if request.model is None else str(request.model)), run.say)
    config = loader.config()
    positions = round(WINDOW_SECONDS * config.audio_encoder.frame_rate)
    guided = guidance_of(request) > 1
    batch = planned_batch(loader.weights.name, config, dtype, device, positions, guided, run.batch_size)
    tokenizer, model = loader.tokenizer(), loader.model(config, dtype, device)
    model.audio_encoder.float()  # in which it was trained
    return MusicGen(request, run, loader.located(), model, tokenizer, batch)


@dataclass
class MusicGen:
    """A loaded model with a request. batch: items generated together."""

    request: SourceRequest
    run: SourceRun
    weights: Weights
    model: Any
    tokenizer: Any
    batch: int
    codec: Codec = field(init=False)
    sampler: Sampler = field(init=False)
    prompt: Prompt = field(init=False)
    _hashes: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.codec = Codec(self.model)
        self.sampler = Sampler(self.model, self.tokenizer, self.request, self.codec.frame_rate)
        self.prompt = self._prompt()
        self._hashes = self.weights.hashes()

    @property
    def sr(self) -> int:
        """Samples a second of the recordings."""
        return self.codec.sr

    def recordings(self) -> Iterator[Recording]:
        """Generate the recordings in batches, as `Source` has it; out of memory halves a batch, down to one item."""
        total = self.codec.frames(self.request.seconds)
        tracks = [self._track(number) for number in range(self.request.count)]
        queue = [tracks[first : first + self.batch] for first in range(0, len(tracks), self.batch)]
        while queue:
            group = queue.pop(0)
            ended: BaseException | None = None
            try:
                done = self._generate(group, total)
            except (torch.OutOfMemoryError, MemoryError) as error:
                error.__traceback__ = None  # it refers to what filled the memory
                queue[:0] = self._halves(group)
                continue
            except KeyboardInterrupt as error:
                done, ended = False, error
            for track in group:
                if done or track.frames > track.prompt_frames:
                    yield self._recording(track, done)
            if ended is not None:
                raise ended
            if not done:
                raise StoppedError("Stopped; what had been generated is saved.")

    def _generate(self, group: list[Track], total: int) -> bool:
        """Generate the rest of some tracks; returns False if the user stopped."""
        before, whole = group[0].number * total, self.request.count * total
        stopped = False

        def report(frames: int) -> bool:
            nonlocal stopped
            if self.run.progress is not None:
                self.run.progress(before + len(group) * frames, whole)
            stopped = self.run.stop is not None and self.run.stop()
            return stopped

        while group[0].frames < total and not stopped:
            self.sampler.extend(group, total, report)
        return group[0].frames >= total

    def _halves(self, group: list[Track]) -> list[list[Track]]:
        """Return the halves of a batch that does not fit into memory; RequestError if it is one item."""
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if len(group) == 1:
            raise RequestError(
                "there is not enough memory to generate even one recording; free some, choose a smaller model, or ask "
                "for fewer seconds."
            )
        log.warning("out of memory with %d items at a time; continuing with half of them", len(group))
        return [group[: len(group) // 2], group[len(group) // 2 :]]

    def _track(self, number: int) -> Track:
        text, item = divmod(number, self.request.items)
        seed = self.request.seed + item
        generator = torch.Generator(self.model.device).manual_seed(seed)
        return Track(number, self.request.texts[text], seed, self.prompt.codes, generator)

    def _recording(self, track: Track, complete: bool) -> Recording:
        """Return a track as audio, at most as long as asked."""
        audio = self.codec.decode(track.codes, self.prompt.scales)
        audio = audio[: round(self.request.seconds * self.sr)]
        return Recording(track.number, SampledAudio.of(audio, self.sr), complete, self._facts(track))

    def _facts(self, track: Track) -> dict[str, Any]:
        asked = self.request
        filtered = asked.top_k or (TOP_K if asked.top_p is None else None)
        sampling = {"temperature": asked.temperature, "top_k": filtered, "top_p": asked.top_p}
        return {
            "model": self.weights.name,
            "revision": self.weights.revision,
            "weights_sha256": self._hashes,
            "licence": self.weights.licence,
            "text": track.text or None,
            "audio": self.prompt.facts,
            "seed": track.seed,
            "greedy": asked.greedy,
            **({} if asked.greedy else sampling),
            "guidance": self.sampler.guidance,
            "seconds_asked": asked.seconds,
            "window_seconds": WINDOW_SECONDS,
            "context_seconds": CONTEXT_SECONDS,
            "device": self.model.device.type,
            "precision": str(self.model.dtype).removeprefix("torch."),
            "batch_size": self.batch,
        }

    def _prompt(self) -> Prompt:
        """Return the recording that the results begin with, or none, of no frames."""
        codec, asked = self.codec, self.request
        if asked.audio is None:
            return Prompt(torch.zeros(codec.codebooks, 0, dtype=torch.long), [None] * codec.channels)
        audio = _recording(asked, self.sr, codec.channels == 2, self.run.say)
        codes, scales = codec.encode(audio)
        path = Path(asked.audio)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return Prompt(codes, scales, {"file": str(path), "sha256": digest, "seconds": round(len(audio) / self.sr, 3)})


def _recording(request: SourceRequest, sr: int, stereo: bool, note: Any) -> SampledAudio:
    """Return the recording to continue; AudioError, about `audio`, if it cannot be read, or is too long."""
    path = Path(request.audio or "")
    try:
        audio = read_recording(path, sr, request.audio_seconds, note, stereo)
    except AudioError as error:
        raise AudioError(str(error).replace("prompt-seconds", "audio-seconds"), field="audio") from None
    longest = min(LONGEST_AUDIO, request.seconds)
    if len(audio) / sr > LONGEST_AUDIO or len(audio) / sr >= request.seconds:
        raise AudioError(
            f"{shown_path(path)} is {len(audio) / sr:.1f} seconds long, and less than {longest:g} can be continued to "
            f"{request.seconds:g}; set audio-seconds to use its start, or ask for more seconds.",
            field="audio",
        )
    return audio
