"""The configuration file: where it is, and what it must be."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiffin.builder.errors import UsageError
from tiffin.builder.settings.config_file import cache_tables, config_path, registry_texts
from tiffin.builder.settings.texts import need_text


def test_the_file_is_where_the_environment_says(tmp_path: Path) -> None:
    usual = tmp_path / "tiffin/config.toml"
    assert config_path({}) is None
    assert config_path({"XDG_CONFIG_HOME": str(tmp_path)}) is None, "there is none yet"
    usual.parent.mkdir()
    usual.touch()
    assert config_path({"XDG_CONFIG_HOME": str(tmp_path)}) == usual
    home = tmp_path / "home"
    (home / ".config/tiffin").mkdir(parents=True)
    (home / ".config/tiffin/config.toml").touch()
    assert config_path({"HOME": str(home)}) == home / ".config/tiffin/config.toml"
    named = config_path({"TIFFIN_CONFIG": "/missing.toml", "XDG_CONFIG_HOME": str(tmp_path)})
    assert named == Path("/missing.toml"), "a file that was named is not passed over"


def test_tables_are_read(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[[cache]]\nurl = "http://a"\n[[cache]]\npath = "/b"\n[registries]\nprivate = ["r.example"]\n')
    assert cache_tables(file) == [{"url": "http://a"}, {"path": "/b"}]
    assert registry_texts(file, "private") == ("r.example",)
    assert registry_texts(file, "mirrors") == () == registry_texts(None, "mirrors")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cache = 1", "cache is not a list of tables"),
        ("cache = [1]", "cache is not a list of tables"),
        ("registries = 1", "registries is not a table"),
        ("[registries]\nmirrors = 'one'", "registries.mirrors is not a list of texts"),
        ("[registries]\nmirrors = [1]", "registries.mirrors is not a list of texts"),
        ("[network]", '"network", which means nothing here'),
        ("[", "cannot read"),
    ],
)
def test_what_it_must_not_be(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=says) as error:
        (cache_tables if "cache" in text else lambda path: registry_texts(path, "mirrors"))(file)
    assert str(file) in str(error.value) and error.value.remedy


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"cannot read {tmp_path}/none"):
        cache_tables(tmp_path / "none")


def test_texts_are_utf8() -> None:
    assert need_text(["A=é", "B"], "--label") == ["A=é", "B"]
    with pytest.raises(UsageError, match="--label A: the value is not UTF-8"):
        need_text(["A=\udcff"], "--label")
