"""The gallery is what its command writes: every view, every picture, no other."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from examples import gallery
from visual.cli import main

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")


def structure(content: bytes) -> tuple[str | None, list[tuple[str | None, str]]]:
    """The title, and id and classes of every group: what a picture shows, zeros or not."""
    root = ElementTree.fromstring(content)
    groups = root.iter("{http://www.w3.org/2000/svg}g")
    seen = re.compile(" (number|zero)$")
    return root[0].text, [(g.get("id"), seen.sub("", g.get("class", ""))) for g in groups if g.get("id")]


def test_the_page_shows_every_view_and_every_picture():
    shown = set(re.findall(r"\]\(pictures/([\w-]+)\.svg\)", PAGE))
    drawn = {path.stem for path in (ROOT / "docs" / "pictures").glob("*.svg")}
    assert set(gallery.VIEWS) == shown == drawn - {"lstm"}


@pytest.mark.parametrize("name", gallery.VIEWS)
def test_the_picture_is_what_the_command_draws(name):
    kept = (ROOT / "docs" / "pictures" / f"{name}.svg").read_bytes()
    assert structure(gallery.draw(name).pipe("svg")) == structure(kept)


def test_the_readme_shows_what_the_command_under_its_picture_draws(tmp_path):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"`python -m visual (.*) -o docs/pictures/lstm\.svg`", readme)
    assert main([*command.split(), "-o", str(tmp_path / "lstm.svg")]) == 0
    kept = (ROOT / "docs" / "pictures" / "lstm.svg").read_bytes()
    assert structure((tmp_path / "lstm.svg").read_bytes()) == structure(kept)


def test_a_picture_of_another_network_would_be_noticed():
    assert structure(gallery.draw("cell").pipe("svg")) != structure(gallery.draw("dark").pipe("svg"))
