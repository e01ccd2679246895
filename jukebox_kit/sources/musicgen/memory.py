"""Peak memory of generating with MusicGen, in bytes, computed from its configuration before anything is loaded."""

from __future__ import annotations

from typing import Any

import torch

from jukebox_kit.engine import free_memory
from jukebox_kit.errors import RequestError
from jukebox_kit.sources.musicgen.codec import MARGIN_SECONDS, PIECE_SECONDS
from jukebox_kit.sources.musicgen.weights import RELEASED, model_class

SPARE = 0.9  # of the free memory is planned with

TEXT_TOKENS = 128  # of a long description

CODEC_COPIES = 6.0  # copies of the codec's longest layer while a piece is decoded; 5.7 measured at full size

GB = 1e9


def weights_bytes(config: Any, dtype: torch.dtype) -> int:
    """Return the bytes of the model's weights; those of the codec are always float32."""
    with torch.device("meta"):
        model = model_class(config)(config)
    codec = sum(tensor.numel() for tensor in model.audio_encoder.state_dict().values())
    other = sum(parameter.numel() for parameter in model.parameters())
    other -= sum(parameter.numel() for parameter in model.audio_encoder.parameters())
    return int(4 * codec + dtype.itemsize * other)


def item_bytes(config: Any, dtype: torch.dtype, positions: int, guided: bool) -> int:
    """Return the bytes of one item's keys and values, of the audio's positions and of the text's."""
    decoder = config.decoder
    read = positions + TEXT_TOKENS + (getattr(config, "chroma_length", None) or 0)
    rows = 2 if guided else 1
    return int(rows * 2 * decoder.num_hidden_layers * decoder.hidden_size * read * dtype.itemsize)


def codec_bytes(config: Any) -> int:
    """Return the bytes of decoding one piece of an item."""
    codec = config.audio_encoder
    return int(CODEC_COPIES * 4 * codec.num_filters * codec.sampling_rate * (PIECE_SECONDS + 2 * MARGIN_SECONDS))


def planned_batch(
    name: str, config: Any, dtype: torch.dtype, device: torch.device, positions: int, guided: bool, batch_size: int
) -> int:
    """Return how many items fit into memory together, at most batch_size; RequestError if not even one does."""
    free = SPARE * free_memory(device)
    fixed = weights_bytes(config, dtype) + codec_bytes(config)
    item = item_bytes(config, dtype, positions, guided)
    if fixed + item > free:
        raise RequestError(
            f"{name} needs {(fixed + item) / GB:.1f} GB of memory, and {free / GB:.1f} GB are free; free some, or "
            f"choose a smaller model, such as {RELEASED[0]}.",
            field="model",
        )
    return max(1, min(batch_size, int((free - fixed) // item)))
