"""Tiny random MusicGen models, saved with the library's own classes. Run with: pytest -m musicgen tests/musicgen"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from jukebox_kit.song.audio import save_audio

SR, HOP, BINS = 8000, 160, 32  # 50 codes a second, as the released models have

WORDS = ("<pad>", "</s>", "<unk>", "slow", "fast", "jazz", "rock", "piano", "drums")


def make_model(folder: Path, channels: int = 1, melody: bool = False) -> Path:
    """Save a model of some hundred kilobytes with its tokeniser and feature extractor; returns the folder."""
    import transformers as library

    torch.manual_seed(0)
    kind = "MusicgenMelody" if melody else "Musicgen"
    codec = library.EncodecConfig(
        sampling_rate=SR,
        upsampling_ratios=[16, 10],
        num_filters=4,
        num_residual_layers=1,
        num_lstm_layers=1,
        hidden_size=16,
        codebook_dim=16,
        codebook_size=BINS,
        target_bandwidths=[1.0],
        use_causal_conv=False,
    )
    decoder = getattr(library, f"{kind}DecoderConfig")(
        vocab_size=BINS,
        hidden_size=16,
        ffn_dim=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_codebooks=4 * channels,
        audio_channels=channels,
        pad_token_id=BINS,
        bos_token_id=BINS,
    )
    text = library.T5Config(vocab_size=len(WORDS), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    config = getattr(library, f"{kind}Config")(
        text_encoder=text.to_dict(), audio_encoder=codec.to_dict(), decoder=decoder.to_dict()
    )
    model = getattr(library, f"{kind}ForConditionalGeneration")(config)
    for layer in model.audio_encoder.quantizer.layers:  # of zeros as the library makes them, which is silence
        layer.codebook.embed.normal_()
    with torch.no_grad():
        for layer in model.decoder.modules():  # so that the text, and what came before, decide what follows
            if isinstance(layer, torch.nn.Linear | torch.nn.Embedding):
                layer.weight.normal_(std=0.5)
    model.generation_config = library.GenerationConfig(
        bos_token_id=BINS, pad_token_id=BINS, decoder_start_token_id=BINS, guidance_scale=3.0, max_length=1500
    )
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    library.EncodecFeatureExtractor(feature_size=channels, sampling_rate=SR).save_pretrained(folder)
    return folder


def tokenizer() -> Any:
    """Return a tokeniser that knows the words of WORDS."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("a test tried to reach the network")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # of processes that a test starts


@pytest.fixture(scope="session")
def mono(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("mono"))


@pytest.fixture(scope="session")
def stereo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("stereo"), channels=2)


@pytest.fixture(scope="session")
def melody(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("melody"), melody=True)


@pytest.fixture(scope="session")
def riff(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of two seconds in stereo at the models' rate, another tone on each side."""
    times = np.arange(2 * SR) / SR
    sides = [0.4 * np.sin(2 * np.pi * hertz * times) for hertz in (220, 330)]
    return save_audio(np.stack(sides, 1), tmp_path_factory.mktemp("riff") / "riff.wav", SR)


def facts_of(path: Path) -> dict[str, Any]:
    """Return the content of a recording's JSON file."""
    return dict(json.loads(path.with_name(f"{path.name}.json").read_text()))


def samples_of(path: Path) -> NDArray[np.float32]:
    """Return a file's samples."""
    import soundfile

    samples: NDArray[np.float32] = soundfile.read(path, dtype="float32")[0]
    return samples
