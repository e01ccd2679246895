"""Reports what this machine can do for songs."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import soundfile
import torch

from jukebox_kit.model.weights import load_definition, models_folder, shipped_models
from jukebox_kit.song.store import examine_disk


def examine(folder: Path) -> dict[str, str]:
    """Return what was examined, as text by name; `folder` is where songs will be saved."""
    found = {
        "jukebox_kit": _version("jukebox_kit"),
        "python": platform.python_version(),
        "torch": f"{torch.__version__}, {torch.get_num_threads()} threads",
        "device": _device(),
        "memory": _memory(),
        "disk": _disk(folder),
        "models": _space(models_folder()),
        "audio": f"soundfile {_version('soundfile')}, {soundfile.__libsndfile_version__}",
    }
    for name in shipped_models():
        missing = load_definition(name).missing()
        found[name] = "ready" if not missing else f"missing {', '.join(missing)}"
    return found


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _device() -> str:
    if not torch.cuda.is_available():
        return "cpu; torch finds no GPU. The demo model runs well here; the released models are very slow without one."
    free, total = torch.cuda.mem_get_info()
    return f"{torch.cuda.get_device_name()}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"


def _memory() -> str:
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return f"{pages * size / 2**30:.1f} GiB"


def _there(folder: Path) -> Path:
    return next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())


def _space(folder: Path) -> str:
    there = _there(folder)
    usable = "writable" if os.access(there, os.W_OK) else "not writable: choose another folder"
    return f"{shutil.disk_usage(there).free / 2**30:.1f} GiB free at {there}, {usable}"


def _disk(folder: Path) -> str:
    store = examine_disk(_there(folder))
    return f"{_space(folder)}; {store.kind} store: {store.why}"
