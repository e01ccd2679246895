"""The jukebox package as an engine: the 2020 code, or `jukebox_infer`, with the interface of our own components.

Its transformer asserts at every token that its tokens are CUDA tensors, so its priors need a GPU. The package gets our
hyperparameters and weights and never downloads anything; its output is discarded. Noise, windows and saving are ours,
so the same seed gives the same song up to rounding.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jukebox_kit.errors import CheckpointError, ConfigurationError, RequestError
from jukebox_kit.model import NO_ALIGNMENT, VQVAE, Conditioning, Pattern, Prior, PriorConfig, VQVAEConfig
from jukebox_kit.model.weights import PACKAGES

log = logging.getLogger(__name__)


def package() -> str:
    """Return the name of the installed package; RequestError if neither is installed."""
    found = next((name for name in PACKAGES if importlib.util.find_spec(name)), None)
    if found is None:
        raise RequestError(
            'the engine jukebox needs the jukebox package, which is not installed: pip install "jukebox_kit[jukebox]".'
        )
    return found


class JukeboxVQVAE(VQVAE):
    """The package's VQ-VAE: its encoders, codebooks and decoders; decoding in stretches is ours."""

    def __init__(self, config: VQVAEConfig, state: dict[str, Tensor], device: torch.device) -> None:
        """Build it from weights under their released names."""
        with torch.device("meta"):
            super().__init__(config)
        for name in list(self._modules):
            delattr(self, name)  # ours, without weights
        hps = _hyperparameters(asdict(config) | {"levels": config.levels, "sample_length": config.hops[-1]})
        with _at_work() as package_name:
            makers = importlib.import_module(f"{package_name}.make_models")
            self.theirs: Any = makers.make_vqvae(hps, device)
        _take(self.theirs, state)

    @property
    def device(self) -> torch.device:
        """The device that it computes on."""
        return next(iter(self.theirs.parameters())).device  # type: ignore[no-any-return]

    def encoded(self, audio: Tensor) -> list[Tensor]:
        """See VQVAE."""
        return list(self.theirs.encode(audio))

    def decoded(self, codes: Tensor, level: int) -> Tensor:
        """See VQVAE."""
        found: Tensor = self.theirs.decode([codes], start_level=level, end_level=level + 1)
        return found


class JukeboxPrior(Prior):
    """The package's prior of a level: conditioning, lyrics and transformer, with the interface of our Prior."""

    def __init__(
        self, config: PriorConfig, vqvae: VQVAEConfig, state: dict[str, Tensor], device: torch.device, halved: bool
    ) -> None:
        """Build it from weights under their released names; halved: compute its transformer in float16."""
        if not isinstance(config.attn_order, int):
            raise ConfigurationError("the jukebox package has no named attention orders; use 2, 10 or 12.")
        with torch.device("meta"):
            super().__init__(config, vqvae)
        for name in list(self._modules):
            delattr(self, name)
        self.halved = halved
        # cond_c_res: without it the conditioner's parameters do not have their released names.
        more = {"sr": vqvae.sr, "labels": True, "fp16_params": halved, "cond_c_res": 1}
        hps = _hyperparameters(asdict(config) | more)
        lengths = [(vqvae.hops[-1] * config.n_ctx // hop,) for hop in vqvae.hops]
        part = SimpleNamespace(
            l_bins=vqvae.l_bins,
            z_shapes=lengths,
            downs_t=vqvae.downs_t,
            strides_t=vqvae.strides_t,
            encode=None,
            decode=None,
        )
        with _at_work() as package_name:
            makers = importlib.import_module(f"{package_name}.make_models")
            self.theirs: Any = makers.make_prior(hps, part, device)
        _take(self.theirs, state)
        if config.has_encoder:
            self.prime_x_out = self.theirs.prime_x_out

    @torch.no_grad()
    def condition(self, y: Tensor, upper_codes: Tensor | None = None, into: Tensor | None = None) -> Conditioning:
        """See Prior."""
        del into  # the package returns its conditioning as a new tensor
        music, start, lyric_tokens = self.theirs.get_cond(None if upper_codes is None else [upper_codes], y)
        read = self.config.has_encoder
        lyrics = self.theirs.get_encoder_kv(lyric_tokens, fp16=self.halved, sample=True) if read else None
        prefix = lyric_tokens if self.config.single_enc_dec else lyric_tokens[:, :0]
        return Conditioning(F.pad(music, (0, 0, prefix.shape[1], 0)), start, prefix, lyrics)

    @torch.no_grad()
    def next_logits(self, codes: Tensor, given: Conditioning) -> Tensor:
        """See Prior. The package only takes whole sequences, so missing tokens are padded; causality hides them."""
        sequence = self.sequence(codes, given)
        rows = min(sequence.shape[1] + 1, self.config.positions)
        whole = F.pad(sequence, (0, self.config.positions - sequence.shape[1]))
        lyrics = None if given.lyrics is None else given.lyrics.float()
        how = {"fp16": self.halved, "get_preds": True}
        logits: Tensor = self.theirs.prior(whole, given.positions, given.start, lyrics, **how)[1]
        return logits[:, :rows]

    @torch.no_grad()
    def alignment(self, codes: Tensor, given: Conditioning) -> Tensor:
        """See Prior."""
        layer, head = self.config.alignment_layer, self.config.alignment_head
        if layer is None or head is None:
            raise ConfigurationError(NO_ALIGNMENT)
        transformer = self.theirs.prior.transformer
        transformer.set_record_attn({layer})
        try:
            self.next_logits(codes[:, :-1], given)
            found: Tensor = transformer.ws[0][:, head].float()
        finally:
            transformer.set_record_attn(False)
        if self.config.patterns[layer] is Pattern.DENSE:
            found = found[:, self.prefix_length :]
        return found[:, : codes.shape[1], : self.config.n_tokens]


class JukeboxDecoder:
    """Steps the package's transformer with its own cache. See Decoder."""

    conditioning, optimised = None, False

    def __init__(self, prior: JukeboxPrior) -> None:
        self.prior, self.model = prior, prior.theirs.prior

    @torch.no_grad()
    def prefill(self, given: Conditioning, codes: Tensor) -> None:
        """See Decoder."""
        self.given = given
        self.model.transformer.del_cache()
        tokens = self.prior.sequence(codes, given)
        self.at, self.last = tokens.shape[1], tokens[:, -1:] if tokens.shape[1] else None
        if self.at:
            inputs = [self._input(at, tokens[:, at - 1 : at] if at else None)[0] for at in range(self.at)]
            self._through(torch.cat(inputs, 1))

    @torch.no_grad()
    def next_logits(self) -> Tensor:
        """See Decoder."""
        x, conditioning = self._input(self.at, self.last)
        self.model.transformer.check_cache(len(x), self.at, self.prior.halved)
        x = self._through(x)
        if self.model.add_cond_after_transformer:
            x = x + conditioning
        self.at += 1
        logits: Tensor = self.model.x_out(x)
        return logits[:, 0, self.prior.shift :].float()

    def feed(self, codes: Tensor) -> None:
        """See Decoder."""
        self.last = (codes + self.prior.shift)[:, None]

    def _input(self, at: int, token: Tensor | None) -> tuple[Tensor, Tensor]:
        songs = len(self.given.start)
        found: tuple[Tensor, Tensor] = self.model.get_emb(at, songs, token, self.given.positions, self.given.start)
        return found

    def _through(self, x: Tensor) -> Tensor:
        found: Tensor = self.model.transformer(x, encoder_kv=self.given.lyrics, sample=True, fp16=self.prior.halved)
        return found


@contextlib.contextmanager
def _at_work() -> Iterator[str]:
    """Let the package build something: quietly, and set up as the single process that the 2020 code expects."""
    name, group = package(), torch.distributed
    alone = name == "jukebox" and not group.is_initialized()
    if alone:
        store = group.HashStore()  # type: ignore[attr-defined]
        group.init_process_group("gloo", store=store, rank=0, world_size=1)
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # it uses deprecated functions
            yield name
    finally:
        log.debug("%s: %s", name, said.getvalue().strip())
        if alone:
            group.destroy_process_group()


def _hyperparameters(values: dict[str, Any]) -> Any:
    """Return the package's hyperparameters: its defaults, overridden by ours of the same name; no checkpoint."""
    makers = importlib.import_module(f"{package()}.hparams")
    known = makers.setup_hparams("", {})
    return makers.setup_hparams("", {name: value for name, value in values.items() if name in known})


def _take(part: nn.Module, state: dict[str, Tensor]) -> None:
    """Load our weights into one of the package's components; CheckpointError if they belong to another one."""
    found = part.load_state_dict(state, strict=False)
    missing = [name for name in found.missing_keys if not name.endswith("x_out.weight")]  # tied to the embedding
    if missing or found.unexpected_keys:
        odd = (missing or list(found.unexpected_keys))[0]
        raise CheckpointError(f"the jukebox package cannot load these weights: {odd} is not in both.")
