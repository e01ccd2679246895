"""Hyperparameters of the model's components, as frozen dataclasses that are checked when they are created.

Field names are those of the 2020 release, so that its files, its papers and its users' notes can be read beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from jukebox_kit.errors import ConfigurationError

TOP = 2  # the level with the coarsest codes, which is sampled first
LEVELS = (0, 1, 2)  # as the release numbers them: level 0 becomes the audio
DOWNWARD = (2, 1, 0)  # in the order they are sampled

LABEL_SETS = ("v2", "v3")  # the release's tables of artists and genres

# The release saves these with the others, but a trained component does not use them.
TRAINING_ONLY = frozenset(
    {
        *("init_scale", "c_res", "cond_c_res", "prime_c_res", "prime_init_scale", "prime_loss_fraction"),
        *("fp16_params", "commit", "l_mu", "multispectral", "spectral", "loss_fn", "lmix_l2", "lmix_linf"),
    }
)


class Pattern(IntEnum):
    """Which earlier positions a layer attends to; the numbers are the release's."""

    DENSE = 0
    ROW = 1
    COLUMN = 2
    PREVIOUS_ROW = 3
    ENCODER = 6
    PRIME = 7


def layer_patterns(attn_order: int | Sequence[str], depth: int) -> tuple[Pattern, ...]:
    """Return the attention pattern of each of `depth` layers.

    `attn_order` is one of the release's numbers (2, 10, 12), or pattern names (`row`, `previous_row`, …) that are
    repeated until every layer has one.
    """
    cycle = (Pattern.ROW, Pattern.COLUMN, Pattern.PREVIOUS_ROW)
    if not isinstance(attn_order, int):
        return tuple(Pattern[attn_order[d % len(attn_order)].upper()] for d in range(depth))
    if attn_order == 2:
        return tuple(cycle[d % 3] for d in range(depth))
    if attn_order == 10:  # nine plain layers, then groups of nine plain layers and one that reads the lyrics
        return tuple(
            Pattern.ENCODER if d >= 9 and (d - 9) % 10 == 9 else cycle[(d if d < 9 else (d - 9) % 10) % 3]
            for d in range(depth)
        )
    sixteenth = (Pattern.PRIME, Pattern.PRIME, Pattern.DENSE)
    return tuple(sixteenth[d % 3] if d % 16 == 15 else cycle[d % 3] for d in range(depth))


@dataclass(frozen=True)
class VQVAEConfig:
    """Autoencoders, one per level, with `strides ** downs` samples per token; names as in the release."""

    sr: int = 44100
    levels: int = 3
    downs_t: tuple[int, ...] = (3, 2, 2)
    strides_t: tuple[int, ...] = (2, 2, 2)
    emb_width: int = 64
    l_bins: int = 2048
    width: int = 32
    depth: int = 4
    m_conv: float = 1.0
    dilation_growth_rate: int = 3
    dilation_cycle: int | None = None
    hvqvae_multipliers: tuple[int, ...] = (1, 1, 1)
    vqvae_reverse_decoder_dilation: bool = True

    def __post_init__(self) -> None:
        for name in ("downs_t", "strides_t", "hvqvae_multipliers"):
            if len(getattr(self, name)) != self.levels:
                raise ConfigurationError(f"vqvae: {name} needs one value for each of the {self.levels} levels.")
        _positive(self, "sr", "levels", "emb_width", "l_bins", "width", "depth", "dilation_growth_rate")

    @property
    def hops(self) -> tuple[int, ...]:
        """Samples per token, for each level."""
        hops: list[int] = []
        for down, stride in zip(self.downs_t, self.strides_t, strict=True):
            hops.append((hops[-1] if hops else 1) * stride**down)
        return tuple(hops)


@dataclass(frozen=True)
class PriorConfig:
    """A prior (top level) or an upsampler (lower levels)."""

    level: int
    n_ctx: int
    prior_width: int
    prior_depth: int
    heads: int
    blocks: int
    y_bins: tuple[int, int]  # sizes of the genre and the artist table
    attn_order: int | tuple[str, ...] = 2
    m_attn: float = 0.25
    m_mlp: float = 1.0
    merged_decoder: bool = False
    single_enc_dec: bool = False
    labels_v3: bool = False
    t_bins: int = 64
    max_bow_genre_size: int = 1
    n_vocab: int = 80
    use_tokens: bool = False
    n_tokens: int = 0
    min_duration: float | None = None
    max_duration: float | None = None
    prime_width: int = 0
    prime_depth: int = 0
    prime_heads: int = 0
    prime_attn_order: int = 2
    prime_blocks: int = 0
    cond_width: int = 0
    cond_depth: int = 0
    cond_dilation_growth_rate: int = 1
    cond_dilation_cycle: int | None = None
    cond_res_scale: bool = False
    cond_m_conv: float = 1.0
    alignment_layer: int | None = None
    alignment_head: int | None = None

    def __post_init__(self) -> None:
        _positive(self, "n_ctx", "prior_width", "prior_depth", "heads", "blocks", "t_bins", "max_bow_genre_size")
        if self.attn_order not in (2, 10, 12) and isinstance(self.attn_order, int):
            raise ConfigurationError(
                f"attn_order {self.attn_order} is not one of 2, 10, 12; other orders are lists of pattern names."
            )
        names = {p.name.lower() for p in Pattern}
        if not isinstance(self.attn_order, int) and not (self.attn_order and set(self.attn_order) <= names):
            raise ConfigurationError(f"attn_order takes only the patterns {', '.join(sorted(names))}.")
        if self.positions % self.blocks:
            raise ConfigurationError(
                f"{self.positions} positions do not divide into {self.blocks} blocks; change n_ctx, n_tokens or blocks."
            )
        if self.n_state % self.heads:
            raise ConfigurationError(f"{self.heads} heads do not divide the attention state of {self.n_state}.")
        if self.use_tokens != (self.n_tokens > 0):
            raise ConfigurationError("use_tokens must be true if n_tokens is above 0, and false otherwise.")
        if Pattern.PRIME in self.patterns and not self.single_enc_dec:
            raise ConfigurationError("the prime pattern needs single_enc_dec (lyrics and music in one sequence).")
        if Pattern.ENCODER in self.patterns and not self.has_encoder:
            raise ConfigurationError("the encoder pattern needs lyrics (n_tokens) and single_enc_dec false.")

    @property
    def positions(self) -> int:
        """Positions of the transformer's sequence, including lyric tokens if they share it."""
        return self.n_ctx + (self.n_tokens if self.single_enc_dec else 0)

    @property
    def n_state(self) -> int:
        """Width of the attention state."""
        return int(self.m_attn * self.prior_width)

    @property
    def has_encoder(self) -> bool:
        """Whether a separate encoder reads the lyrics."""
        return self.use_tokens and not self.single_enc_dec

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        """The attention pattern of each layer."""
        return layer_patterns(self.attn_order, self.prior_depth)

    @property
    def prime_length(self) -> int:
        """Positions that the prime pattern attends to."""
        return (self.n_tokens // self.blocks + 1) * self.blocks

    @property
    def label_width(self) -> int:
        """Columns of a label row: lengths (3), artist, genre slots, lyric tokens."""
        return 4 + self.max_bow_genre_size + self.n_tokens

    @property
    def label_set(self) -> str:
        """`v2` or `v3`."""
        return "v3" if self.labels_v3 else "v2"


def _positive(config: object, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, int) or value <= 0:
            raise ConfigurationError(f"{name} must be a whole number above 0, not {value!r}.", field=name)
