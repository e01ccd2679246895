"""Not a test that runs by itself: a mirror made by the transformers library's own Jukebox classes gives its logits.

    python3 -m venv /tmp/hf && /tmp/hf/bin/pip install torch transformers==4.57.6
    python tests/releases/mirror_proof.py FOLDER /tmp/hf/bin/python

The second Python, which has that library and not this package, makes two tiny models with random weights, built like
1b_lyrics (lyrics and music in one sequence) and like 5b_lyrics (a lyric encoder), saves each as one
safetensors file, as one pickle and as several files of either kind, and records what its classes compute. The
first Python gets each from a server on this machine as `jukebox-kit models get` does, and compares: codes of the
VQ-VAE, decoded audio of each level, logits of both upsamplers and of the top prior. It prints one line each and exits
1 where codes differ or a number is further off than 1e-5 of the largest.
"""

from __future__ import annotations

import functools
import http.server
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import torch

N_CTX = {"joint": 56, "encoder": 64}  # music positions of the top prior
LYRICS = {"joint": 8, "encoder": 16}
FORMS = ("safetensors", "pickle", "many safetensors", "many pickles")
SEED = 3


def settings(kind: str) -> dict[str, Any]:
    """Return a tiny model's settings by the transformers library's names."""
    plain = {"num_layers": 4, "hidden_size": 16, "n_heads": 2, "blocks": 4, "mask": True, "metadata_dims": [5, 6]}
    plain |= {"music_vocab_size": 32, "attention_pattern": "raw_column_previous_row_attention"}
    up = {**plain, "n_ctx": 64, "is_encoder_decoder": False, "merged_decoder": False, "nb_relevant_lyric_tokens": 0}
    up |= {"res_conv_width": 8, "res_conv_depth": 3, "res_dilation_growth_rate": 3, "res_dilation_cycle": 2}
    top = {**plain, "n_ctx": N_CTX[kind], "nb_relevant_lyric_tokens": LYRICS[kind], "lyric_vocab_size": 79}
    if kind == "joint":
        top |= {"num_layers": 49, "attention_pattern": "enc_dec_with_lyrics"}
        top |= {"is_encoder_decoder": True, "merged_decoder": False}
    else:
        encoder = {**plain, "hidden_size": 24, "num_layers": 3, "n_ctx": 16, "nb_relevant_lyric_tokens": 0}
        top |= {"num_layers": 29, "attention_pattern": "large_separated_enc_dec_w_lyrics", "merged_decoder": True}
        top |= {"is_encoder_decoder": False, "encoder_config": encoder}
    priors = [top, {**up, "conv_res_scale": True}, up]
    vqvae = {"nb_discrete_codes": 32, "embed_dim": 8, "res_conv_width": 4, "res_conv_depth": 2}
    shared = {"timing_dims": 16, "min_duration": 2, "max_duration": 60, "max_nb_genres": 2, "sampling_rate": 44100}
    return {"vqvae_config": vqvae, "prior_config_list": priors, **shared}


def definition(kind: str) -> str:
    """Return the same tiny model as a definition of this package."""
    lyrics = "attn_order: 12, prior_depth: 49, single_enc_dec: true, n_ctx: 56, n_tokens: 8"
    if kind == "encoder":
        lyrics = "attn_order: 10, prior_depth: 29, merged_decoder: true, n_ctx: 64, n_tokens: 16, prime_width: 24, "
        lyrics += "prime_depth: 3, prime_heads: 2, prime_blocks: 4"
    common = "prior_width: 16, heads: 2, blocks: 4, y_bins: [5, 6], max_bow_genre_size: 2, t_bins: 16, n_vocab: 79"
    return f"""
name: {kind}
labels: {{v2: {{artists: artists.txt, genres: genres.txt}}}}
parts:
  vqvae: {{file: tiny/vqvae.pth.tar, emb_width: 8, l_bins: 32, width: 4, depth: 2, hvqvae_multipliers: [2, 1, 1]}}
  level_0: &upsampler {{file: tiny/level_0.pth.tar, {common}, n_ctx: 64, prior_depth: 4, cond_width: 8, cond_depth: 3,
    cond_dilation_growth_rate: 3, cond_dilation_cycle: 2}}
  level_1: {{<<: *upsampler, file: tiny/level_1.pth.tar, cond_res_scale: true}}
  level_2: {{file: tiny/level_2.pth.tar, {common}, {lyrics}, use_tokens: true, min_duration: 2, max_duration: 60}}
"""


def inputs(kind: str) -> dict[str, torch.Tensor]:
    """Return what both sides are given: audio, codes of each level, labels with and without lyrics."""
    generator = torch.Generator().manual_seed(SEED)
    labels = torch.tensor([[441_000, 44_100, 56 * 128, 4, 1, 3], [88_200, 0, 56 * 128, 2, 4, -1]])
    lyrics = torch.randint(0, 79, (2, LYRICS[kind]), generator=generator)
    codes = {f"codes_{level}": torch.randint(0, 32, (2, 64), generator=generator) for level in range(3)}
    codes["codes_2"] = codes["codes_2"][:, : N_CTX[kind]]
    audio = torch.rand((2, 4096, 1), generator=generator) * 2 - 1
    return {"audio": audio, "labels": labels, "with_lyrics": torch.cat([labels, lyrics], 1), **codes}


def make(folder: Path, kind: str) -> None:
    """With transformers: write the model in every form, and what its classes compute."""
    import huggingface_hub as hub  # another Python's, as is the next
    import transformers.models.deprecated.jukebox as library

    torch.manual_seed(SEED)
    model = library.JukeboxModel(library.JukeboxConfig(**settings(kind))).eval()
    with torch.no_grad():
        for name, value in model.state_dict().items():
            fan_in = value[0].numel() if value.dim() == 3 else len(value) if value.dim() == 2 else 400
            table = "embed" in name or "emb." in name or "pos_emb" in name
            scale = 1.0 if name.endswith("codebook") else 0.25 if table else fan_in**-0.5
            value.normal_().mul_(scale).add_(1.0 if "layer_norm" in name and name.endswith("weight") else 0.0)
        given = inputs(kind)
        found = {f"vqvae codes {i}": codes for i, codes in enumerate(model.vqvae.encode(given["audio"]))}
        for level in range(3):
            lower = [given[f"codes_{i}"] for i in range(level, 3)]
            found[f"vqvae audio {level}"] = model.vqvae.decode(lower, start_level=level)
            prior = model.priors[2 - level]
            codes = given[f"codes_{level}"].clone()
            above = None if level == 2 else [given[f"codes_{level + 1}"][:, :16]]
            if level == 2 and kind == "joint":
                _, metrics = prior.forward_tokens(codes, [], given["with_lyrics"], get_preds=True)
                found[f"logits {level}"] = metrics["preds"]
            else:  # its forward_tokens stumbles over parts without lyrics, and over more than one song with an encoder
                labels = given["with_lyrics" if level == 2 else "labels"]
                conditioning, start, lyrics = prior.get_cond(above, labels)
                states = prior.get_encoder_states(lyrics)
                found[f"logits {level}"] = prior.prior(codes, conditioning, start, states, get_preds=True)[1]
    torch.save(found, folder / f"{kind}.pt")
    for form in FORMS:
        place = folder / "hub" / kind / form.replace(" ", "-") / "resolve" / "main"
        size = "60KB" if form.startswith("many") else "10GB"
        if "pickle" in form:
            model.save_pretrained(place, safe_serialization=False, max_shard_size=size)
        else:  # save_pretrained refuses this model's tied tables
            place.mkdir(parents=True)
            hub.save_torch_state_dict(model.state_dict(), place, max_shard_size=size)


def compare(folder: Path, kind: str, form: str, url: str) -> bool:
    """With this package: get the model from the server, and say how far its numbers are off."""
    from jukebox_kit.engine.model import Model
    from jukebox_kit.model.weights.download.fetch import get
    from jukebox_kit.model.weights.download.release import KnownFile, Mirror, Release
    from jukebox_kit.model.weights.download.sources import DownloadOptions

    home = folder / "here" / kind / form.replace(" ", "-")
    os.environ |= {"HOME": str(home), "HF_HOME": str(home), "JUKEBOX_KIT_MODELS": str(home / "models")}
    home.mkdir(parents=True)
    (home / "model.yaml").write_text(definition(kind))
    for table in ("artists.txt", "genres.txt"):
        (home / table).write_text("unknown;0\n")
    holds = {"vqvae": "vqvae", "priors.0": "level_2", "priors.1": "level_1", "priors.2": "level_0"}
    mirror = Mirror(f"{kind}/{form.replace(' ', '-')}", {p: f"tiny/{part}.pth.tar" for p, part in holds.items()})
    files = {file: KnownFile() for file in mirror.holds.values()}
    get(
        home / "model.yaml",
        DownloadOptions(keep_float32=True),
        Release((), "", files, f"{url}/hub", (mirror,), f"{url}/", {}),
    )
    model, given, ok = Model.load(home / "model.yaml", "cpu"), inputs(kind), True
    ours = {f"vqvae codes {i}": codes for i, codes in enumerate(model.vqvae.encode(given["audio"]))}
    for level in range(3):
        ours[f"vqvae audio {level}"] = model.vqvae.decode(given[f"codes_{level}"], level)
        above = None if level == 2 else given[f"codes_{level + 1}"][:, :16]
        labels = given["with_lyrics" if level == 2 else "labels"]
        ours[f"logits {level}"] = model.prior(level).logits(given[f"codes_{level}"], labels, above)
    for name, theirs in torch.load(folder / f"{kind}.pt", weights_only=True).items():
        off = (ours[name].double() - theirs.double()).abs().max().item() / theirs.abs().max().item()
        right = off <= (0.0 if "codes" in name else 1e-5) and ours[name].shape == theirs.shape
        ok &= right
        shape = tuple(theirs.shape)
        sys.stdout.write(f"{kind:<8}{form:<17}{name:<15}{shape!s:<16}{off:.1e} {'ok' if right else 'FAIL'}\n")
    return ok


def main(folder: Path, other: str) -> int:
    """Make with the other Python, serve, get and compare with this one; return the exit code."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([other, __file__, str(folder)], check=True)
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    right = [compare(folder, kind, form, url) for kind in N_CTX for form in FORMS]
    server.shutdown()
    server.server_close()
    return 0 if all(right) else 1


if __name__ == "__main__":
    if len(sys.argv) == 3:
        sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
    for one in N_CTX:
        make(Path(sys.argv[1]), one)
