"""The DAWproject format: a zip of project.xml, metadata.xml and audio. https://github.com/bitwig/dawproject (MIT)."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from jukebox_kit._files import printable
from jukebox_kit.song.studio.project import Marker, Project, Track

MASTER, TEMPO = "master", "tempo"  # ids within the file

COLOURS = {"lyrics": "#5b8def", "edit": "#e0883a", "seam": "#9a9a9a"}

SLOWEST, FASTEST = "5", "1000"  # beats a minute, the range of the parameter


def dawproject_bytes(project: Project, audio: Mapping[str, bytes]) -> bytes:
    """Return the container; audio: the WAV files by the names that the tracks have for them."""
    files = {"project.xml": _document(_project(project)), "metadata.xml": _document(_metadata(project)), **audio}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as container:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)  # with a fixed date, so that the same song gives the same file
            entry.compress_type = zipfile.ZIP_DEFLATED if name.endswith(".xml") else zipfile.ZIP_STORED
            container.writestr(entry, content)
    return buffer.getvalue()


def _metadata(project: Project) -> Element:
    root = Element("MetaData")
    texts = {"Title": project.title, "Artist": project.artist, "Genre": project.genre, "Comment": project.comment}
    for name, text in texts.items():
        if text:
            SubElement(root, name).text = _text(text)
    return root


def _project(project: Project) -> Element:
    root = Element("Project", version="1.0")
    SubElement(root, "Application", name="jukebox_kit", version=_version())
    transport = SubElement(root, "Transport")
    bpm = f"{project.tempo[0].bpm:.9f}" if project.tempo else "120"
    SubElement(transport, "Tempo", id=TEMPO, name="Tempo", unit="bpm", min=SLOWEST, max=FASTEST, value=bpm)
    SubElement(transport, "TimeSignature", id="time_signature", numerator="4", denominator="4")
    structure = SubElement(root, "Structure")
    for index, track in enumerate(project.tracks):
        _add_track(structure, f"track_{index}", track)
    master = SubElement(structure, "Track", id="master_track", name="Master", contentType="audio", loaded="true")
    _add_channel(master, MASTER, "master")
    _add_arrangement(root, project)
    return root


def _add_track(structure: Element, name: str, track: Track) -> None:
    made = SubElement(structure, "Track", id=name, name=_text(track.name), contentType="audio", loaded="true")
    channel = _add_channel(made, f"{name}_channel", "regular")
    channel.set("destination", MASTER)
    SubElement(channel, "Mute", id=f"{name}_mute", name="Mute", value="true" if track.muted else "false")


def _add_channel(track: Element, name: str, role: str) -> Element:
    return SubElement(track, "Channel", id=name, role=role, audioChannels="2")


def _add_arrangement(root: Element, project: Project) -> None:
    arrangement = SubElement(root, "Arrangement", id="arrangement")
    lanes = SubElement(arrangement, "Lanes", id="lanes", timeUnit="seconds")
    for index, track in enumerate(project.tracks):
        lane = SubElement(lanes, "Lanes", id=f"track_{index}_lanes", track=f"track_{index}")
        _add_clip(SubElement(lane, "Clips", id=f"track_{index}_clips"), track, project.sr)
    if project.markers:
        _add_markers(SubElement(arrangement, "Markers", id="markers", timeUnit="seconds"), project.markers)
    if project.tempo:
        points = SubElement(arrangement, "TempoAutomation", id="tempo_map", unit="bpm", timeUnit="seconds")
        SubElement(points, "Target", parameter=TEMPO)
        for point in project.tempo:
            at, bpm = f"{point.seconds:.9f}", f"{point.bpm:.9f}"
            SubElement(points, "RealPoint", time=at, value=bpm, interpolation="hold")


def _add_clip(clips: Element, track: Track, sr: int) -> None:
    start, length = f"{track.start:.9f}", f"{track.seconds:.9f}"
    place = {"time": start, "duration": length, "playStart": "0", "contentTimeUnit": "seconds"}
    clip = SubElement(clips, "Clip", place, name=_text(track.name))
    audio = SubElement(clip, "Audio", duration=length, sampleRate=str(sr), channels="1")
    SubElement(audio, "File", path=track.file)


def _add_markers(markers: Element, all_of_them: tuple[Marker, ...]) -> None:
    for one in all_of_them:
        at = f"{one.seconds:.9f}"
        SubElement(markers, "Marker", time=at, name=_text(one.name), color=COLOURS[one.kind], comment=one.kind)


def _document(root: Element) -> bytes:
    indent(root)
    content: bytes = tostring(root, "utf-8", xml_declaration=True)
    return content


def _text(text: str) -> str:
    """Return text without what XML cannot hold, such as control characters."""
    return "".join(c for c in printable(text) if c in "\t\n" or (c >= " " and c not in "\ufffe\uffff"))


def _version() -> str:
    try:
        return version("jukebox_kit")
    except PackageNotFoundError:  # it runs from a folder
        return "unknown"
