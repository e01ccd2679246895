"""Another implementation of Jukebox, timed in its own process: `python peer_worker.py NAME PART`, PART being JSON.

It runs in any interpreter that has the peer, without importing jukebox_kit. The peer's own sampling method runs as its
users call it, and is paused at the beginning of a step until steps are requested: a line of JSON such as {"songs": 1,
"at": 4096, "steps": 20} on stdin is answered by {"seconds": 1.25} on stdout. The first line on stdout describes the
peer, or says why it cannot run.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

JUKEBOXES = ("jukebox", "jukebox_infer")  # the same modules under two names

TRANSFORMERS = "transformers.models.deprecated.jukebox"

PATTERNS = {  # transformers' names for the release's orders of attention
    2: "raw_column_previous_row_attention",
    10: "large_separated_enc_dec_w_lyrics",
    12: "enc_dec_with_lyrics",
}


class AnotherError(Exception):
    """Ends the paused sampling, because steps at another position are requested, or none."""


class Gate:
    """Intercepts every call of the peer's transformer, one per step, and lets requested steps through."""

    def __init__(self, asked: TextIO, answers: TextIO, clock: Callable[[], float]) -> None:
        self.asked, self.answers, self.clock = asked, answers, clock
        self.request = self.read()
        self.uncounted = self.left = 0
        self.started: float | None = None

    def read(self) -> dict[str, int] | None:
        """Return the next request, or None at the end."""
        line = self.asked.readline()
        return json.loads(line) if line.strip() else None

    def begin(self, uncounted: int) -> None:
        """Expect sampling to begin, with `uncounted` calls of the transformer before its first step."""
        self.uncounted, self.left, self.started = uncounted, 0, None

    def __call__(self, *_: object) -> None:
        """Let a call through, first answering a finished request and reading the next one if it is time."""
        if self.uncounted:
            self.uncounted -= 1
            return
        self.left -= 1
        if self.left > 0:
            return
        if self.started is not None:
            say(self.answers, seconds=self.clock() - self.started)
            before, self.request = self.request, self.read()
            if not before or not self.request or any(before[key] != self.request[key] for key in ("songs", "at")):
                raise AnotherError
        assert self.request
        self.left, self.started = self.request["steps"], self.clock()


def say(answers: TextIO, **values: object) -> None:
    """Answer with a line of JSON."""
    answers.write(json.dumps(values) + "\n")
    answers.flush()


def transformers_part(part: dict[str, Any]) -> tuple[Any, Callable[..., object]]:
    """Return the transformers library's module, and how its sampling is called."""
    configuration = importlib.import_module(f"{TRANSFORMERS}.configuration_jukebox")
    modeling = importlib.import_module(f"{TRANSFORMERS}.modeling_jukebox")
    config = configuration.JukeboxPriorConfig(
        hidden_size=part["width"],
        num_layers=part["depth"],
        n_heads=part["heads"],
        blocks=part["blocks"],
        attention_pattern=PATTERNS[part["order"]],
        attention_multiplier=part["m_attn"],
        mlp_multiplier=part["m_mlp"],
        merged_decoder=part["merged"],
        music_vocab_size=part["bins"],
        nb_relevant_lyric_tokens=part["lyrics"],
        mask=True,
    )
    model = modeling.JukeboxConditionalAutoregressive(
        config, n_ctx=part["positions"], audio_conditioning=True, metadata_conditioning=True
    )
    if part["cuda"]:
        model = model.cuda().half()

    def sample(songs: int, tokens: Any, positions: Any, start: Any, lyrics: Any) -> None:
        more = {"audio_conditioning": positions, "metadata_conditioning": start, "last_encoder_hidden_states": lyrics}
        if tokens.shape[1]:
            model.primed_sample(songs, tokens, temp=0.99, **more)
        else:
            model.sample(songs, temp=0.99, **more)

    return model, sample


def jukebox_part(part: dict[str, Any]) -> tuple[Any, Callable[..., object]]:
    """Return the module of the 2020 code or of a package that keeps its engine, and how its sampling is called."""
    package = next(name for name in JUKEBOXES if importlib.util.find_spec(name))
    if package == "jukebox":  # the 2020 code asks for its process rank at every token
        distributed: Any = importlib.import_module("torch.distributed")
        distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    autoregressive = importlib.import_module(f"{package}.prior.autoregressive")
    model = autoregressive.ConditionalAutoregressive2D(
        (part["positions"],),
        part["bins"],
        width=part["width"],
        depth=part["depth"],
        heads=part["heads"],
        blocks=part["blocks"],
        attn_order=part["order"],
        m_attn=part["m_attn"],
        m_mlp=part["m_mlp"],
        merged_decoder=part["merged"],
        prime_len=part["lyrics"],
        encoder_dims=part["lyrics"],
        x_cond=True,
        y_cond=True,
        mask=True,
    ).cuda()
    if part["merged"]:  # the peer's sampler keeps only the 5b priors in float16
        ops = importlib.import_module(f"{package}.transformer.ops")
        model.apply(ops._convert_conv_weights_to_fp16)

    def sample(songs: int, tokens: Any, positions: Any, start: Any, lyrics: Any) -> None:
        if tokens.shape[1]:
            model.primed_sample(songs, tokens, positions, start, lyrics, fp16=True, temp=0.99)
        else:
            model.sample(songs, positions, start, lyrics, fp16=True, temp=0.99)

    return model, sample


def work(name: str, part: dict[str, Any], asked: TextIO, answers: TextIO) -> None:
    """Build the peer's prior, describe it, and serve requests until there are no more."""
    try:
        torch: Any = importlib.import_module("torch")
        torch.set_num_threads(part["threads"])
        model, sample = {"transformers": transformers_part, "jukebox": jukebox_part}[name](part)
    except Exception as error:  # an installed peer can fail in any way
        say(answers, error=f"{type(error).__name__}: {error}")
        return
    for value in model.parameters():
        if value.dim() > 1:  # some are allocated without values
            value.data.normal_(0, 0.02)
    model.eval()
    like = next(model.parameters())
    package = "transformers" if name == "transformers" else type(model).__module__.split(".")[0]
    version = getattr(importlib.import_module(package), "__version__", "")
    say(answers, peer=f"{package} {version}".strip(), torch=torch.__version__, weights=kept_as(model))

    def clock() -> float:
        if part["cuda"]:
            torch.cuda.synchronize()
        return time.perf_counter()

    gate = Gate(asked, answers, clock)
    model.transformer.register_forward_pre_hook(gate)
    while gate.request:
        songs, length = gate.request["songs"], gate.request["at"] + part["prefix"]
        gate.begin(uncounted=1 if length else 0)
        positions, start, lyrics = (
            torch.full((songs, count, part["width"]), 0.01, device=like.device, dtype=like.dtype)
            for count in (part["positions"], 1, part["lyrics"])
        )
        tokens = torch.randint(part["bins"], (songs, length), device=like.device)
        try:
            sample(songs, tokens, positions, start, lyrics if part["encoder"] else None)
        except AnotherError:
            model.transformer.del_cache()


def kept_as(model: Any) -> str:
    """Return the dtype of a peer's linear layers."""
    value = next(value for name, value in model.named_parameters() if ".mlp.c_fc." in name)
    return str(value.dtype).removeprefix("torch.")


def main() -> None:
    """Serve on stdin and stdout; anything that a peer prints goes to stderr."""
    sys.path.pop(0)  # this folder, whose modules the peer must not import
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    work(sys.argv[1], json.loads(sys.argv[2]), sys.stdin, answers)


if __name__ == "__main__":
    main()
