"""Our call beside the library's own, as its documentation has it: the same seed and settings give the same samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from jukebox_kit.sources import SourceRequest, SourceRun
from jukebox_kit.sources.musicgen import open_musicgen
from tests.musicgen.conftest import SR, samples_of

pytestmark = pytest.mark.musicgen

SECONDS = 1.5

FRAMES = 75  # of SECONDS

TEXT = "slow jazz piano"


def ours(**fields: Any) -> NDArray[np.float32]:
    """Return the audio of a request, (samples,) or (samples, channels)."""
    source = open_musicgen(SourceRequest(seconds=SECONDS, **fields), SourceRun(device="cpu"))
    (recording,) = source.recordings()
    assert source.sr == SR
    return np.asarray(recording.audio)


def theirs(folder: Path, inputs: dict[str, Any], new: int, **options: Any) -> NDArray[np.float32]:
    """Return the audio of the library's plain call. new: frames; a start token and three delays are not heard."""
    from transformers import MusicgenForConditionalGeneration

    model = MusicgenForConditionalGeneration.from_pretrained(folder)
    if "guidance_scale" in options and options["guidance_scale"] is None:  # none at all, not the model's own default
        model.generation_config.guidance_scale = None
    torch.manual_seed(7)
    audio = model.generate(**inputs, max_new_tokens=new + 3, **options)[0].numpy().T
    return np.asarray(audio[:, 0] if audio.shape[1] == 1 else audio)


def inputs_of(folder: Path, text: str = TEXT, audio: Any = None) -> dict[str, Any]:
    """Return the library's inputs, as its processor makes them."""
    from transformers import AutoTokenizer, EncodecFeatureExtractor

    inputs = dict(AutoTokenizer.from_pretrained(folder)([text], padding=True, return_tensors="pt"))
    if audio is not None:
        extract = EncodecFeatureExtractor.from_pretrained(folder)
        inputs |= dict(extract(audio, sampling_rate=SR, padding=True, return_tensors="pt"))
    return inputs


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({}, {"top_k": 250}),
        ({"top_k": 5, "guidance": 2.0}, {"top_k": 5, "guidance_scale": 2.0}),
        ({"top_p": 0.7}, {"top_k": 0, "top_p": 0.7}),
        ({"temperature": 0.8, "top_k": 9}, {"temperature": 0.8, "top_k": 9}),
        ({"guidance": 1.0}, {"guidance_scale": None, "top_k": 250}),
        ({"greedy": True}, {"do_sample": False}),
    ],
)
def test_a_text_sounds_as_it_does_from_the_library(mono: Path, fields: dict[str, Any], options: dict[str, Any]) -> None:
    sampled = ours(text=TEXT, seed=7, model=mono, **fields)
    options = {"do_sample": True, "guidance_scale": 3.0, **options}
    np.testing.assert_array_equal(sampled, theirs(mono, inputs_of(mono), FRAMES, **options))
    assert sampled.std() > 0.01


def test_without_a_text_it_is_the_library_s_unconditional_call(mono: Path) -> None:
    from transformers import MusicgenForConditionalGeneration

    empty = MusicgenForConditionalGeneration.from_pretrained(mono).get_unconditional_inputs(num_samples=1)
    plain = theirs(mono, dict(empty), FRAMES, do_sample=True, top_k=250)
    np.testing.assert_array_equal(ours(seed=7, model=mono), plain)
    assert not np.array_equal(plain, ours(seed=8, model=mono))


@pytest.mark.parametrize("kind", ["mono", "stereo"])
def test_a_recording_is_continued_as_the_library_does(kind: str, riff: Path, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(kind)
    heard = samples_of(riff)[: SR // 2]
    audio = heard.mean(1) if kind == "mono" else heard.T
    plain = theirs(folder, inputs_of(folder, audio=audio), FRAMES - 25, do_sample=True, top_k=250, guidance_scale=3.0)
    sampled = ours(text=TEXT, audio=riff, audio_seconds=0.5, seed=7, model=folder)
    assert sampled.shape == plain.shape == ((FRAMES * 160,) if kind == "mono" else (FRAMES * 160, 2))
    np.testing.assert_array_equal(sampled, plain)


@pytest.mark.parametrize("text", [TEXT, None])
def test_the_melody_model_sounds_as_it_does_from_the_library(melody: Path, text: str | None) -> None:
    from transformers import MusicgenMelodyForConditionalGeneration

    model = MusicgenMelodyForConditionalGeneration.from_pretrained(melody)
    inputs = inputs_of(melody, text or "")
    if text is None:
        inputs["attention_mask"][:] = 0
    torch.manual_seed(7)
    guidance = 3.0 if text else 1.0
    plain = model.generate(**inputs, do_sample=True, top_k=250, guidance_scale=guidance, max_new_tokens=FRAMES + 3)
    np.testing.assert_array_equal(ours(text=text or (), seed=7, model=melody), plain[0, 0].numpy())
