"""jukebox_kit: OpenAI's Jukebox, usable again. A song is a folder, made in three steps that can be stopped anywhere."""

from __future__ import annotations

from jukebox_kit.audio import save_audio
from jukebox_kit.errors import JukeboxKitError
from jukebox_kit.keeping import Options, Progress
from jukebox_kit.models import Model
from jukebox_kit.song import Song
from jukebox_kit.steps import generate, level_0, level_1, level_2, sample, upsample

__version__ = "0.1.0"
__all__ = [
    "JukeboxKitError",
    "Model",
    "Options",
    "Progress",
    "Song",
    "generate",
    "level_0",
    "level_1",
    "level_2",
    "sample",
    "save_audio",
    "upsample",
]
