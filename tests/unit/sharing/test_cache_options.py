"""Shared caches as users name them."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import cast

import pytest

from tests.fakes.shared_store import MemoryStore
from tiffin.builder.errors import UsageError
from tiffin.builder.sharing.kinds import KINDS, Kind, in_module
from tiffin.builder.sharing.options import caches_of, parse_cache
from tiffin.cache.shared.protocol import SharedStore, StoreOptions
from tiffin.cache.trust import Trust


def test_a_bare_reference_is_a_registry() -> None:
    spec = parse_cache("r.example/app:cache", "--cache-from", "ro")
    assert (spec.kind, spec.place, spec.reads, spec.writes) == ("registry", "r.example/app:cache", True, False)


@pytest.mark.parametrize(
    ("text", "access", "kind", "place"),
    [
        ("type=registry,ref=r/a", "ro", "registry", "r/a"),
        ("ref=r/a", "ro", "registry", "r/a"),
        ("type=local,src=/d", "ro", "local", "/d"),
        ("type=local,dest=/d", "wo", "local", "/d"),
        ("type=dir,path=/d", "", "dir", "/d"),
        ("type=redis,url=redis://h/0,ttl=7d", "", "redis", "redis://h/0"),
        ("type=http,url=https://h/x", "", "http", "https://h/x"),
        ("type=s3,bucket=b,region=r", "", "s3", "b"),
    ],
)
def test_each_kind_has_a_place(text: str, access: str, kind: str, place: str) -> None:
    spec = parse_cache(text, "--cache-x", access)
    assert (spec.kind, spec.place) == (kind, place)
    assert (spec.reads, spec.writes) == {"ro": (True, False), "wo": (False, True), "": (True, True)}[access]


def test_a_folder_of_buildx_and_one_of_ours_are_one_cache() -> None:
    assert parse_cache("type=local,src=/d", "f", "ro").identity == parse_cache("type=dir,path=/d", "f").identity


def test_common_options() -> None:
    text = "type=registry,ref=r/a,mode=max,required=true,timeout=1.5,ttl=1h,registry.insecure=true,ignore-error=true"
    spec = parse_cache(text, "f")
    assert (spec.mode, spec.required, spec.timeout_seconds, spec.ttl_seconds) == ("max", True, 1.5, 3600)
    assert spec.is_insecure and not parse_cache("type=registry,ref=r/a", "f").is_insecure
    assert not parse_cache("type=dir,path=/d,access=ro", "TIFFIN_CACHE").writes


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("type=registy,ref=a", 'unknown type "registy"'),
        ("type=dir,path=/d,rat=1", 'type=dir takes no "rat"'),
        ("type=dir", "type=dir needs path="),
        ("type=dir,path=", "type=dir needs path="),
        ("type=local,dest=/d", "type=local needs src="),
        ("type=dir,path=/d,path=/e", '"path" has no value, or two'),
        ("type=dir,path", '"path" has no value, or two'),
        ("type=dir,,path=/d", "has an empty item"),
        ("type=dir,path=/d,mode=all", "mode=all is wrong"),
        ("type=dir,path=/d,required=perhaps", "required=perhaps is wrong"),
        ("type=dir,path=/d,timeout=soon", "timeout=soon"),
        ("type=dir,path=/d,access=ro", 'takes no "access"'),
    ],
)
def test_what_is_wrong_is_named(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as error:
        parse_cache(text, "--cache-from", "ro")
    assert "--cache-from" in error.value.message and error.value.remedy


def test_an_error_shows_no_password() -> None:
    with pytest.raises(UsageError) as error:
        parse_cache("type=redis,url=redis://me:hunter2@h/0,secret_access_key=hunter3,,", "--cache-from", "ro")
    assert "hunter" not in str(error.value)


def test_flags_come_before_the_variable_and_the_file(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[[cache]]\ntype = "dir"\npath = "/file"\nrequired = true\n')
    found = caches_of(["type=dir,path=/from"], ["type=dir,path=/to"], "type=dir,path=/a; type=dir,path=/b", file)
    assert [(spec.place, spec.reads, spec.writes) for spec in found] == [
        ("/from", True, False), ("/to", False, True), ("/a", True, True), ("/b", True, True), ("/file", True, True),
    ]  # fmt: skip
    assert found[-1].required
    file.write_text('[[cache]]\n[[cache]]\ntype = "dir"\n')
    with pytest.raises(UsageError, match=r"\[\[cache\]\] 1 type=registry needs ref="):
        caches_of([], [], "", file)


def test_the_size_of_a_blob() -> None:
    assert parse_cache("type=redis,url=redis://h,max-blob=8m", "f").sizes == {"max-blob": 8 << 20}
    assert parse_cache("type=redis,url=redis://h", "f").sizes == {}
    with pytest.raises(UsageError, match="max-blob=much is not a valid size"):
        _ = parse_cache("type=redis,url=redis://h,max-blob=much", "f").sizes


def test_a_kind_of_store_is_a_file_and_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file here is the store of the tests; what reads options, opens and fills asks nothing but its row."""
    module = ModuleType("shelf")
    module.__dict__["open_store"] = lambda options: MemoryStore(room=options.sizes["room"])
    monkeypatch.setitem(sys.modules, "tiffin.cache.shared.stores.shelf", module)
    monkeypatch.setitem(
        cast("dict[str, Kind]", KINDS), "shelf", Kind(open_store=in_module("shelf"), place="board", sizes=("room",))
    )
    spec = parse_cache("type=shelf,board=top,room=7k", "--cache-to", "wo")
    with pytest.raises(UsageError, match='takes no "rom"'):
        parse_cache("type=shelf,board=top,rom=7k", "--cache-to", "wo")
    options = StoreOptions(
        place=spec.place,
        timeout_seconds=spec.timeout_seconds,
        registry=lambda place: MemoryStore(),
        trust=Trust({}),
        options=spec.options,
        sizes=spec.sizes,
    )
    store = KINDS[spec.kind].open_store(options)
    assert isinstance(store, MemoryStore) and store.room == 7 << 10 and spec.place == "top"


def test_a_reference_may_be_followed_by_options() -> None:
    spec = parse_cache("registry.example/app/cache,mode=max", "--cache-to", "wo")
    assert (spec.kind, spec.place, spec.mode) == ("registry", "registry.example/app/cache", "max")
    with pytest.raises(UsageError):
        parse_cache("mode=max,registry.example/app/cache", "--cache-to", "wo")


def test_a_kind_says_truly_whether_its_store_lists() -> None:
    for name, kind in KINDS.items():
        if name == "registry":
            assert kind.can_list  # it reads all rows in one request
            continue
        module = import_module(f"tiffin.cache.shared.stores.{'directory' if name in ('dir', 'local') else name}")
        (store,) = (
            value
            for value in vars(module).values()
            if isinstance(value, type) and SharedStore in value.__mro__ and value.__module__ == module.__name__
        )
        assert kind.can_list is ("list_names" in vars(store)), name
