"""EnCodec, MusicGen's codec: recordings to codes and back, in pieces, so that length does not cost memory."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PIECE_SECONDS = 30.0  # decoded in one call, besides the margins

MARGIN_SECONDS = 2.0  # on each side of a piece, for what the codec hears around it

CROSSFADE_SECONDS = 0.25


class Codec:
    """The codec of a loaded model.

    sr: samples a second. frame_rate: codes a second. channels: 1, or 2 for stereo models. codebooks: of all channels.
    """

    def __init__(self, model: Any) -> None:
        self.model = model.audio_encoder
        self.sr = int(self.model.config.sampling_rate)
        self.channels = int(model.config.decoder.audio_channels)
        self.codebooks = int(model.config.decoder.num_codebooks)
        self.hop = int(np.prod(self.model.config.upsampling_ratios))
        self.frame_rate = self.sr / self.hop

    def frames(self, seconds: float) -> int:
        """Return the number of codes of a length, rounded up."""
        return int(np.ceil(round(seconds * self.frame_rate, 6)))

    @torch.no_grad()
    def encode(self, audio: NDArray[np.float32]) -> tuple[Tensor, list[Tensor | None]]:
        """Return the codes of audio (samples,) or (samples, channels), (codebooks, frames), and each channel's scale.

        A scale is a volume that some codecs take out of a recording before they encode it; MusicGen's does not.
        """
        sides: list[Tensor] = []
        scales: list[Tensor | None] = []
        for channel in audio.reshape(len(audio), -1).T:
            samples = torch.from_numpy(np.ascontiguousarray(channel)).to(self.model.device)[None, None]
            encoded = self.model.encode(samples)
            sides.append(encoded.audio_codes[0, 0])
            scales.append(encoded.audio_scales[0])
        codes = torch.stack(sides, 1).flatten(0, 1)  # left and right in turn, as the stereo models have them
        return codes.cpu(), scales

    def decode(self, codes: Tensor, scales: list[Tensor | None]) -> NDArray[np.float32]:
        """Return the audio of codes (codebooks, frames): (samples,), or (samples, channels) if there are several.

        Long ones are decoded in overlapping pieces. The pieces are of the same codes, so that their overlaps sound
        alike; they are crossfaded in the middle of their margins.
        """
        piece, margin, fade = (self.frames(s) for s in (PIECE_SECONDS, MARGIN_SECONDS, CROSSFADE_SECONDS))
        total = codes.shape[-1]
        audio = self._decode_piece(codes[:, : piece + margin], scales)
        for start in range(piece, total - margin, piece):
            first = max(0, start - margin)
            after = self._decode_piece(codes[:, first : start + piece + margin], scales)[(start - first) * self.hop :]
            before = audio[start * self.hop :]
            length = min(fade * self.hop, len(before), len(after))
            rise = np.linspace(0, 1, length, dtype=np.float32).reshape(-1, *[1] * (audio.ndim - 1))
            after[:length] = before[:length] * (1 - rise) + after[:length] * rise
            audio = np.concatenate([audio[: start * self.hop], after])
        return audio

    def _decode_piece(self, codes: Tensor, scales: list[Tensor | None]) -> NDArray[np.float32]:
        """Decode what fits into one call; on the CPU if the GPU's memory runs out, so that no tokens are lost."""
        try:
            return self._decode_here(codes, scales)
        except torch.OutOfMemoryError:
            if self.model.device.type == "cpu":
                raise
        self.model.cpu()
        return self._decode_here(codes, [None if scale is None else scale.cpu() for scale in scales])

    @torch.no_grad()
    def _decode_here(self, codes: Tensor, scales: list[Tensor | None]) -> NDArray[np.float32]:
        sides = []
        for channel in range(self.channels):
            own = codes[channel :: self.channels][None, None].to(self.model.device)
            sides.append(self.model.decode(own, [scales[channel]]).audio_values[0, 0].float().cpu().numpy())
        mixed = sides[0] if self.channels == 1 else np.stack(sides, 1)
        return cast("NDArray[np.float32]", np.array(mixed, np.float32))
