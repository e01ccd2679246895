"""The commands that analyse recordings: each makes one call of the library and prints the result."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from jukebox_kit.cli.options import AsJson, Device, lyrics_of, stopped, whole_numbers
from jukebox_kit.errors import RequestError

LyricsFile = Annotated[Path | None, typer.Option(help="A text file with the lyrics; - for standard input.")]

FeaturePrecision = Annotated[
    str, typer.Option(help="Weight precision: float32, float16, int8, or auto for the first that fits in memory.")
]


def features(
    source: Annotated[Path, typer.Argument(help="A recording, or a folder of recordings.")],
    out: Annotated[Path, typer.Argument(help="The folder for the features.")],
    model: Annotated[str, typer.Option(help="A model (see: jukebox-kit models), or the path of its YAML file.")] = "5b",
    layers: Annotated[
        str | None, typer.Option(help="Layers of the top prior, from 1, such as 36,66.", show_default="the middle one")
    ] = None,
    rate: Annotated[str, typer.Option(help="Frames a second, or frames for one frame a token.")] = "frames",
    pool: Annotated[str, typer.Option(help="Over time: none, mean or max.")] = "none",
    convention: Annotated[
        str, typer.Option(help="How to take them: plain, or as jukemirlib, jukemir or sheetsage do.")
    ] = "plain",
    dtype: Annotated[str, typer.Option(help="Of the features: float32 or float16.")] = "float32",
    format: Annotated[str, typer.Option(help="npy or safetensors.")] = "npy",
    codes: Annotated[bool, typer.Option(help="Also write the codes of each level.")] = False,
    seconds: Annotated[float | None, typer.Option(help="Seconds of each recording to use.", show_default="all")] = None,
    pad: Annotated[
        bool, typer.Option(help="Pad shorter recordings with silence, to that length or to one window.")
    ] = False,
    artist: Annotated[str, typer.Option(help="For the labels; see: jukebox-kit artists TEXT")] = "unknown",
    genre: Annotated[str, typer.Option(help="For the labels; see: jukebox-kit genres TEXT")] = "unknown",
    lyrics_file: LyricsFile = None,
    total_seconds: Annotated[
        float | None,
        typer.Option(help="Length of the song that a recording is a part of.", show_default="the recording's"),
    ] = None,
    offset_seconds: Annotated[float, typer.Option(help="Where in that song it starts.")] = 0.0,
    batch_size: Annotated[int, typer.Option(min=1, help="Windows at a time.")] = 1,
    precision: FeaturePrecision = "auto",
    device: Device = None,
) -> None:
    """Write a model's inner states for recordings, as features for other models. Run it again to resume."""
    from jukebox_kit.analysis import FeatureSettings, extract
    from jukebox_kit.cli.progress import CountBar

    settings = FeatureSettings(
        model,
        None if layers is None else whole_numbers("layers", layers),
        None if rate == "frames" else _rate(rate),
        pool,
        convention,
        dtype,
        seconds,
        pad,
        artist,
        genre,
        lyrics_of(None, lyrics_file) or "",
        total_seconds,
        offset_seconds,
        precision,
        device,
        batch_size,
    )
    try:
        with CountBar("recordings") as bar:
            done = extract(source, out, settings, format, codes, _say, bar.show)
    except KeyboardInterrupt:
        stopped("features", source, out)
    typer.echo(f"{done.computed} computed, {done.skipped} there before, {done.failed} failed", err=True)
    typer.echo(done.manifest)
    if done.failed:
        raise typer.Exit(1)


def score(
    source: Annotated[Path, typer.Argument(help="A recording, or a song's folder.")],
    model: Annotated[
        str | None,
        typer.Option(help="A model (see: jukebox-kit models).", show_default="the song's, or the demo"),
    ] = None,
    artist: Annotated[str | None, typer.Option(help="For the labels.", show_default="the song's, or unknown")] = None,
    genre: Annotated[str | None, typer.Option(help="For the labels.", show_default="the song's, or unknown")] = None,
    lyrics: Annotated[str | None, typer.Option(help="The lyrics.", show_default="the song's, or none")] = None,
    lyrics_file: LyricsFile = None,
    levels: Annotated[str | None, typer.Option(help="Levels to score, such as 2 or 2,1.", show_default="all")] = None,
    overlap: Annotated[
        float, typer.Option(help="Share of a window that the next one covers again; 0 as training measures.")
    ] = 0.5,
    seconds: Annotated[float | None, typer.Option(help="Seconds to score.", show_default="all")] = None,
    total_seconds: Annotated[
        float | None, typer.Option(help="Length of the whole song.", show_default="the song's, or the recording's")
    ] = None,
    item: Annotated[int, typer.Option(help="The item of a song, from 0.")] = 0,
    picture: Annotated[Path | None, typer.Option(help="A PNG file to draw bits over time to.")] = None,
    precision: FeaturePrecision = "auto",
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Measure how likely a recording or a song is to a model: bits per token, in all and over time."""
    from jukebox_kit._files import user_path, write_atomically
    from jukebox_kit.analysis import ScoreSettings, score_png
    from jukebox_kit.analysis import score as measure
    from jukebox_kit.cli.progress import CountBar
    from jukebox_kit.steps import RunSettings

    words = lyrics_of(lyrics, lyrics_file)
    chosen = None if levels is None else whole_numbers("levels", levels)
    settings = ScoreSettings(model, artist, genre, words, chosen, overlap, seconds, total_seconds, item)
    if picture is not None and picture.suffix.lower() != ".png":
        raise RequestError(f"picture must be a file that ends in .png, not {picture}.", field="picture")
    with CountBar("windows") as bar:
        found = measure(source, settings, RunSettings(device, precision), bar.show)
    for note in found.notes:
        typer.echo(f"note: {note}", err=True)
    if picture is not None:
        place = user_path(picture).absolute()
        write_atomically(place.parent, place.name, score_png(found))
    typer.echo(json.dumps(found.as_json(), indent=1) if as_json else "\n".join(found.lines()))


def _rate(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise RequestError(f"rate must be a number of frames a second, or frames, not {text}.", field="rate") from None


def _say(line: object) -> None:
    from tqdm import tqdm

    tqdm.write(str(line), file=sys.stderr)  # which moves a progress bar out of the way
