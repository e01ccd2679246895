"""The hub's mirrors: their parameter names become ours, whatever form their files have."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from jukebox_kit.errors import CheckpointError
from jukebox_kit.model.weights.download.hub import in_hub_cache, mirror_name
from jukebox_kit.model.weights.download.release import Mirror
from tests.releases.misbehaving import Manner
from tests.releases.world import FILES, World

HOLDS = {"vqvae": "vqvae", "priors.2": "level_0", "priors.1": "level_1", "priors.0": "level_2"}
REPOSITORY = "somebody/tiny"
MAIN = f"/hub/{REPOSITORY}/resolve/main"
LAYER = "prior.transformer._attn_mods.18"
# Ours, and what the state dict of the transformers library's classes (4.57.6) calls the same parameter.
NAMES = {
    "encoders.0.level_blocks.0.model.0.0.weight": "encoders.0.level_blocks.0.downsample_block.0.weight",
    "encoders.2.level_blocks.1.model.1.0.bias": "encoders.2.level_blocks.1.downsample_block.2.bias",
    "encoders.0.level_blocks.0.model.2.1.model.7.model.1.weight": (
        "encoders.0.level_blocks.0.downsample_block.5.resnet_block.7.conv1d_1.weight"
    ),
    "encoders.1.level_blocks.1.model.2.weight": "encoders.1.level_blocks.1.proj_out.weight",
    "decoders.1.level_blocks.0.model.0.bias": "decoders.1.level_blocks.0.proj_in.bias",
    "decoders.1.level_blocks.0.model.1.0.model.0.model.3.bias": (
        "decoders.1.level_blocks.0.upsample_block.0.resnet_block.0.conv1d_2.bias"
    ),
    "decoders.1.level_blocks.0.model.3.1.weight": "decoders.1.level_blocks.0.upsample_block.5.weight",
    "decoders.2.out.weight": "decoders.2.out.weight",
    "bottleneck.level_blocks.1.k": "bottleneck.level_blocks.1.codebook",
    "conditioner_blocks.0.x_emb.weight": "conditioner_blocks.embed_tokens.weight",
    "conditioner_blocks.0.cond.model.0.weight": "conditioner_blocks.upsampler.proj_in.weight",
    "conditioner_blocks.0.cond.model.2.0.blocks.15.model.1.bias": (
        "conditioner_blocks.upsampler.upsample_block.2.resnet_block.15.conv1d_1.bias"
    ),
    "conditioner_blocks.0.cond.model.2.1.weight": "conditioner_blocks.upsampler.upsample_block.3.weight",
    "conditioner_blocks.0.ln.bias": "conditioner_blocks.layer_norm.bias",
    "y_emb.bow_genre_emb.emb.weight": "metadata_embedding.bow_genre_emb.weight",
    "y_emb.artist_emb.emb.weight": "metadata_embedding.artist_emb.weight",
    "y_emb.relative_pos_emb.emb.weight": "metadata_embedding.relative_pos_emb.emb.weight",
    "prime_prior.start_token": "encoder.start_token",
    "prime_prior.x_emb.weight": "encoder.embed_tokens.weight",
    "prime_prior.pos_emb.pos_emb": "encoder.pos_emb.pos_emb",
    "prime_prior.transformer._attn_mods.0.ln_1.weight": "encoder.transformer._attn_mods.0.layer_norm_1.weight",
    "prime_state_proj.w": "encoder.proj_in.weight",
    "prime_state_ln.bias": "encoder.final_layer_norm.bias",
    "prime_x_out.weight": "encoder.lm_head.weight",
    "prior.x_emb.weight": "prior.embed_tokens.weight",
    "prior.pos_emb.pos_emb": "prior.pos_emb.pos_emb",
    f"{LAYER}.attn.c_attn.w": f"{LAYER}.attn.c_attn.weight",
    f"{LAYER}.attn.c_enc_kv.b": f"{LAYER}.attn.c_enc_kv.bias",
    f"{LAYER}.ln_0.weight": f"{LAYER}.layer_norm_0.weight",
    f"{LAYER}.mlp.c_fc.w": f"{LAYER}.mlp.c_fc.weight",
    "prior.x_out.weight": "prior.fc_proj_out.weight",
}


@pytest.mark.parametrize(("ours", "theirs"), NAMES.items())
def test_names(ours: str, theirs: str) -> None:
    assert mirror_name(ours) == theirs


def mirrored(world: World) -> dict[str, Tensor]:
    """Return the tiny model's weights as a mirror has them."""
    return {
        f"{prefix}.{mirror_name(name)}": value.contiguous()
        for prefix, part in HOLDS.items()
        for name, value in world.weights[part].items()
    }


def pickled(state: dict[str, Tensor]) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def without_prefixes(world: World, **manners: Manner) -> None:
    """Leave the mirror as the only place, and serve its files as described."""
    mirror = Mirror(REPOSITORY, {prefix: FILES[part] for prefix, part in HOLDS.items()})
    world.release = dataclasses.replace(world.release, prefixes=(), mirrors=(mirror,))
    world.server.manners |= {f"{MAIN}/{name.replace('_bin', '.bin')}": manner for name, manner in manners.items()}


@pytest.mark.parametrize("tied", ["prior.embed_tokens.weight", "prior.fc_proj_out.weight"])
def test_one_safetensors_file_in_which_a_tied_table_is_once(world: World, tied: str) -> None:
    without_prefixes(world)
    state = {name: value for name, value in mirrored(world).items() if not name.endswith(tied)}
    world.server.files[f"{MAIN}/model.safetensors"] = save(state)
    world.get()
    assert world.intact()
    assert not world.asked("one")
    record = json.loads((world.target / "tiny/vqvae.safetensors.json").read_text())
    assert record["origins"][0]["url"] == f"{world.server.url}{MAIN}/model.safetensors"


def test_one_pickle_from_a_content_network(world: World) -> None:
    content = pickled(mirrored(world))
    elsewhere = f"{world.server.url}/network/blob"
    linked = {"X-Linked-ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
    without_prefixes(world, pytorch_model_bin=Manner(location=elsewhere, headers=linked))
    world.server.files["/network/blob"] = content
    world.server.manners["/network/blob"] = Manner(drop=40_000)
    world.get()
    assert world.intact()
    assert [wanted for path, wanted in world.server.asked if path == "/network/blob"][1] == "bytes=40000-"
    world.converted().unlink()
    world.server.manners[f"{MAIN}/pytorch_model.bin"].headers = {"X-Linked-ETag": f'"{"0" * 64}"'}
    with pytest.raises(CheckpointError, match="does not match the server's checksum"):
        world.get()


def sharded(world: World, index: str, name: str) -> None:
    state = mirrored(world)
    files = [{n: v for i, (n, v) in enumerate(state.items()) if i % 3 == rest} for rest in range(3)]
    files.append({n: files[2].pop(n) for n in list(files[2]) if n.startswith("vqvae.")})
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(files):
        file = name.format(number)
        world.server.files[f"{MAIN}/{file}"] = save(shard) if file.endswith("safetensors") else pickled(shard)
        weight_map |= dict.fromkeys(shard, file)
    world.server.files[f"{MAIN}/{index}"] = json.dumps({"weight_map": weight_map}).encode()


@pytest.mark.parametrize(
    ("index", "name"),
    [
        ("model.safetensors.index.json", "model-{}.safetensors"),
        ("pytorch_model.bin.index.json", "pytorch_model-{}.bin"),
    ],
)
def test_many_files_of_which_only_the_needed_ones_are_asked_for(world: World, index: str, name: str) -> None:
    without_prefixes(world)
    sharded(world, index, name)
    world.get()
    assert world.intact()
    world.converted().unlink()
    world.server.asked.clear()
    world.get()
    assert world.intact()
    assert (f"{MAIN}/{name.format(3)}", None) not in world.server.asked
    assert (f"{MAIN}/{name.format(0)}", None) in world.server.asked


@pytest.mark.parametrize(
    ("index", "why"),
    [
        (b"<html>", "is not an index of weights"),
        (b'{"weight_map": {"vqvae.x": "a.bin"}}', "has nothing under priors.2"),
        (
            json.dumps({"weight_map": {f"{p}.x": "../a.bin" for p in HOLDS}}).encode(),
            "names a file outside the repository",
        ),
    ],
)
def test_a_wrong_index_is_a_sentence(world: World, index: bytes, why: str) -> None:
    without_prefixes(world)
    world.server.files[f"{MAIN}/pytorch_model.bin.index.json"] = index
    with pytest.raises(CheckpointError, match=why):
        world.get()


@pytest.mark.parametrize("spoil", ["deeper", "other shape", "lacking", "no tensors"])
def test_a_mirror_of_another_model_is_refused_and_what_came_is_removed(world: World, spoil: str) -> None:
    without_prefixes(world)
    state = mirrored(world)
    name = "priors.0.prior.transformer._attn_mods.0.mlp.c_fc.weight"
    if spoil == "deeper":
        state[name.replace(".0.mlp", ".99.mlp")] = state[name]
    elif spoil == "other shape":
        state[name] = state[name][:-1].contiguous()
    elif spoil == "lacking":
        del state[name]
    world.server.files[f"{MAIN}/pytorch_model.bin"] = pickled(state if spoil != "no tensors" else {"a": torch.ones(1)})
    with pytest.raises(CheckpointError, match=r"cannot be used: .* is the checkpoint of another component"):
        world.get()
    assert not list(world.target.rglob("*.bin*"))
    assert not world.converted().exists()


def test_prefixes_come_before_mirrors_and_mirrors_fill_in(world: World) -> None:
    release = world.release
    without_prefixes(world)
    world.release = dataclasses.replace(world.release, prefixes=release.prefixes)
    world.misbehave("one", answer=404)
    world.misbehave("two", answer=404)
    world.server.files[f"{MAIN}/model.safetensors"] = save(mirrored(world))
    here = world.get()
    assert world.intact()
    assert all(h.new for h in here)
    records = {p: json.loads((world.target / f"tiny/{p}.safetensors.json").read_text()) for p in FILES}
    assert [("/hub/" in records[part]["origins"][0]["url"]) for part in FILES] == [False, False, False, True]


def test_the_cache_of_other_programs_is_used_without_the_network_and_left_alone(world: World, tmp_path: Path) -> None:
    without_prefixes(world)
    cached = tmp_path / "home/.cache/huggingface/hub/models--somebody--tiny/snapshots/abc/pytorch_model.bin"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(pickled(mirrored(world)))
    assert in_hub_cache(REPOSITORY, "pytorch_model.bin") == cached
    before = cached.stat().st_mtime_ns
    world.get()
    assert world.intact()
    assert {path for path, _ in world.server.asked} == {"/ids/artists.txt", "/ids/genres.txt"}
    assert cached.stat().st_mtime_ns == before


def test_mirror_and_release_give_the_same_bytes(world: World) -> None:
    world.get()
    before = {part: world.converted(part).read_bytes() for part in FILES}
    for part in FILES:
        world.converted(part).unlink()
    without_prefixes(world)
    world.server.files[f"{MAIN}/pytorch_model.bin"] = pickled(mirrored(world))
    world.get()
    assert {part: world.converted(part).read_bytes() for part in FILES} == before
    assert load_file(world.converted()).keys() == world.weights["level_2"].keys() - {"prior.x_out.weight"}


def test_another_hub_can_be_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    without_prefixes(world)
    world.server.files[f"/other{MAIN.removeprefix('/hub')}/model.safetensors"] = save(mirrored(world))
    monkeypatch.setenv("HF_ENDPOINT", f"{world.server.url}/other/")
    world.get()
    assert world.intact()
