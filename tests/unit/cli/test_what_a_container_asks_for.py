"""What lines about containers ask of networks, devices, volumes and of other containers, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.bench_of_builds import COPIES, MOUNTS
from tests.support.commands import Commands
from tiffin.builder.containers.volumes.store import check_options
from tiffin.builder.errors import UsageError
from tiffin.builder.sandbox.child.spec import Bind, Layers
from tiffin.cache.foundation.frozen import replace

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture
def tiffin(supervised_here: Commands) -> Commands:
    supervised_here.isolation = MOUNTS
    return supervised_here


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--runtime kata", '--runtime "kata" is not here'),
        ("--volume-driver nfs", '--volume-driver "nfs" is not here'),
        ("--oom-score-adj x", '--oom-score-adj "x" is not -1000 to 1000'),
        ("--oom-score-adj 1001", '--oom-score-adj "1001" is not -1000 to 1000'),
        ("--gpus driver=amd", '--gpus "driver=amd": driver=amd is not supported'),
        ("--gpus device=0,what=1", "what=1 is not supported"),
        ("--network-alias x", "--network-alias is for networks with names only"),
        ("--ip 10.0.0.2", "--ip is for networks with names only"),
        ("--mac-address 02:42:ac:12:00:02", "--mac-address is for networks with names only"),
        ("--network host --network back", "conflicting options"),
        ("--network name=back,what=x", '--network name=back,what=x: "what" is not supported'),
        ("--network alias=x", "it names no network"),
        ("--network back:mac-address=x", '--mac-address "x" is not valid'),
        ("--network nowhere", "nowhere"),
        ("--volumes-from other:x", '"x" is not a mode'),
        ("--volumes-from nobody", "nobody"),
    ],
)
def test_what_cannot_be_asked_for_is_told_and_no_container_is_made(words: str, message: str, tiffin: Commands) -> None:
    done = tiffin("create", *words.split(), "base", "say", "x", check=False)
    assert done.code and message in done.err, done.err
    assert tiffin("ps", "-aq").out == ""


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("all", ["all"]),
        ("2", ["0", "1"]),
        ('"device=0,1"', ["0", "1"]),
        ("device=GPU-7", ["GPU-7"]),
        ("count=-1", []),
        ("driver=nvidia,capabilities=utility", ["all"]),
    ],
)
def test_gpus_are_devices_by_name(text: str, names: list[str], tiffin: Commands) -> None:
    """None of them is on a machine of the tests, and the first is told."""
    done = tiffin("run", "--rm", "--gpus", text, "base", "say", "x", check=False)
    if names:
        assert done.code == 125 and f"nvidia.com/gpu={names[0]}" in done.err, done.err


def test_networks_of_a_container_that_does_not_run_change(tiffin: Commands) -> None:
    for name, network in (("box", "private"), ("alone", "none")):
        tiffin("create", "--name", name, "--network", network, "--expose", "80", "base", "say", "x")
    tiffin("network", "create", "--subnet", "10.77.0.0/24", "back")
    tiffin("network", "create", "front")
    tiffin("network", "connect", "--ip", "10.77.0.9", "--alias", "one", "back", "box")
    settings = json.loads(tiffin("inspect", "box").out)[0]["NetworkSettings"]
    assert list(settings["Networks"]) == ["back"]
    back = settings["Networks"]["back"]
    assert back["IPAMConfig"] == {"IPv4Address": "10.77.0.9"} and back["Aliases"] == ["one"]
    assert "box" in back["DNSNames"] and back["IPAddress"] == ""
    for words, message in (
        (("connect", "back", "box"), "already exists in network back"),
        (("connect", "--ip", "10.1.1.1", "front", "box"), "10.1.1.1"),
        (("connect", "host", "box"), "cannot be connected to network host"),
        (("connect", "back", "alone"), "has the network none, and no other can be added"),
        (("disconnect", "front", "box"), "is not connected to network front"),
        (("disconnect", "nowhere", "box"), "nowhere"),
        (("disconnect", "-f", "nowhere", "box"), "is not connected to network nowhere"),
        (("rm", "nowhere"), "nowhere"),
    ):
        done = tiffin("network", *words, check=False)
        assert done.code == 1 and message in done.err, done.err
    tiffin("network", "connect", "front", "box")
    tiffin("network", "disconnect", "back", "box")
    assert list(json.loads(tiffin("inspect", "box").out)[0]["NetworkSettings"]["Networks"]) == ["front"]
    actions = tiffin(
        "events", "--since", "0", "--until", "0s", "--filter", "type=network", "--format", "{{.Action}}"
    ).out
    assert actions.split() == ["create", "create", "connect", "connect", "disconnect"]


def test_networks_have_addresses_of_both_families(tiffin: Commands) -> None:
    both = (
        "--subnet",
        "10.77.0.0/24",
        "--subnet",
        "fd00:77::/64",
        "--gateway",
        "fd00:77::5",
        "--ip-range",
        "10.77.0.64/26",
    )
    tiffin("network", "create", *both, "both")
    tiffin("network", "create", "--ipv6", "six")
    tiffin("network", "create", "four")
    configs = {
        name: json.loads(tiffin("network", "inspect", name).out)[0]["IPAM"]["Config"]
        for name in ("both", "six", "four")
    }
    assert configs["both"] == [
        {"Subnet": "10.77.0.0/24", "IPRange": "10.77.0.64/26", "Gateway": "10.77.0.1"},
        {"Subnet": "fd00:77::/64", "Gateway": "fd00:77::5"},
    ]
    assert len(configs["four"]) == 1 and configs["six"][1]["Subnet"].startswith("fd")
    rows = tiffin("network", "ls", "--format", "{{.Name}} {{.IPv6}}").out.splitlines()
    assert {"both true", "six true", "four false", "host false"} <= set(rows)
    for words, message in (
        ("--subnet 10.78.0.0/24 --subnet 10.79.0.0/24", "given twice for one family"),
        ("--subnet fd00:77:0:0:1::/80", "Pool overlaps with other one on this address space (both: fd00:77::/64)"),
        (
            "--subnet fd00:78::/64 --gateway 10.1.0.1",
            "no matching subnet for gateway 10.1.0.1; use one in fd00:78::/64",
        ),
        ("--subnet 10.80.0.0/24 --ip-range fd00::/120", "no matching subnet for range fd00::/120"),
        ("--subnet 10.80.0.0/24 --gateway 10.80.0.1 --gateway 10.80.0.2", "two gateways or ranges"),
        ("--gateway fd00::1", "needs a subnet"),
        ("--subnet fd00:78::/zz", "invalid network config"),
    ):
        done = tiffin("network", "create", *words.split(), "bad", check=False)
        assert done.code == 1 and message in done.err, done.err
    tiffin("create", "--name", "box", "--network", "four", "base", "say", "x")
    for network, address, message in (
        ("both", "fd00:78::1", "no configured subnet or ip-range contain the IP address fd00:78::1"),
        ("both", "fd00:77::5", "no configured subnet"),
        ("both", "fd00:77::", "no configured subnet"),
        ("both", "10.77.0.70x", 'invalid IPv6 address: "10.77.0.70x"'),
        ("four", "fd00:77::9", "already exists in network four"),
    ):
        done = tiffin("network", "connect", "--ip6", address, network, "box", check=False)
        assert done.code == 1 and message in done.err, done.err
    tiffin("network", "connect", "--ip6", "fd00:77::9", "both", "box")
    shown = json.loads(tiffin("inspect", "box").out)[0]["NetworkSettings"]["Networks"]["both"]
    assert shown["IPAMConfig"] == {"IPv6Address": "fd00:77::9"}


@pytest.mark.thorough
def test_a_container_has_the_volumes_of_others(tiffin: Commands, tmp_path: Path) -> None:
    (tmp_path / "shown").mkdir()
    flags = ("-v", "named:/named", "-v", f"{tmp_path}/shown:/shown", "--tmpfs", "/memory", "-v", "/made-up")
    tiffin("create", "--name", "other", *flags, "base", "say", "x")
    tiffin("run", "--rm", "--volumes-from", "other:ro", "-v", "mine:/shown", "base", "say", "x")
    binds = {mount.path: mount for mount in tiffin.launcher.specs[-1].mounts if isinstance(mount, Bind)}
    assert {"/named", "/shown", "/made-up"} <= set(binds) and "/memory" not in binds
    assert binds["/named"].read_only and binds["/named"].host_path.endswith("volumes/named")
    assert not binds["/shown"].read_only and binds["/shown"].host_path.endswith("volumes/mine")
    (made_up,) = set(tiffin("volume", "ls", "-q").out.split()) - {"named", "mine"}
    assert binds["/made-up"].host_path.endswith(made_up)
    tiffin("rm", "-v", "other")
    assert set(tiffin("volume", "ls", "-q").out.split()) == {"named", "mine"}


def test_a_volume_begins_as_what_the_image_has_there(tiffin: Commands) -> None:
    tiffin("run", "--rm", "-v", "pages:/srv", "base", "say", "x")
    place = Path(json.loads(tiffin("volume", "inspect", "pages").out)[0]["Mountpoint"])
    assert (place / "page").read_text() == "hello\n"
    (place / "page").unlink()
    (place / "other").touch()
    tiffin("run", "--rm", "-v", "pages:/srv", "base", "say", "x")
    assert [path.name for path in place.iterdir()] == ["other"]
    tiffin("run", "--rm", "--mount", "type=volume,src=bare,dst=/srv,volume-nocopy", "base", "say", "x")
    assert list((place.parent / "bare").iterdir()) == []
    below = "type=volume,src=pages,dst=/x,volume-subpath=none"
    missing = tiffin("run", "--rm", "--mount", below, "base", "say", "x", check=False)
    assert missing.code == 125 and "volume pages has no none" in missing.err


def test_an_image_is_mounted_by_its_layers_or_where_these_cannot_be_as_a_copy(tiffin: Commands) -> None:
    mount = "type=image,src=base,dst=/shown,image-subpath=srv"
    tiffin("run", "--rm", "--mount", mount, "base", "say", "x")
    (shown,) = tiffin.launcher.specs[-1].mounts
    assert isinstance(shown, Layers) and (shown.path, shown.source, shown.is_directory) == ("/shown", "srv", True)
    assert not shown.writable and shown.lower_dirs == tiffin.launcher.specs[-1].lower_dirs

    tiffin.isolation = replace(MOUNTS, overlay=False)
    tiffin("create", "--name", "box", "--mount", mount, "base", "say", "x")
    tiffin("run", "--rm", "--volumes-from", "box", "base", "say", "x")
    (copied,) = tiffin.launcher.specs[-1].mounts
    assert isinstance(copied, Bind) and copied.read_only and copied.source == "srv"
    assert copied.host_path.endswith("images/shown")
    assert json.loads(tiffin("inspect", "box").out)[0]["Mounts"] == [
        {"Type": "image", "Source": "base", "Destination": "/shown", "Mode": "", "Propagation": "", "RW": False}
    ]
    for words, why in (
        (f"{mount}/none", "image base has no srv/none"),
        ("type=image,src=no,dst=/x", "run tiffin pull no"),
    ):
        done = tiffin("run", "--rm", "--mount", words, "base", "say", "x", check=False)
        assert done.code == 125 and why in done.err

    tiffin.isolation = COPIES
    done = tiffin("run", "--rm", "--mount", mount, "base", "say", "x", check=False)
    assert done.code == 125 and "no mounts" in done.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "1m"}, 'invalid option: "size"'),
        ({"type": "tmpfs", "o": "size=1m", "device": "tmpfs"}, "type tmpfs with o=size=1m needs a mount of root's"),
        ({"type": "none", "device": "/x"}, "a volume of type none with o= needs"),
        ({"type": "none", "o": "bind", "device": "x"}, 'device "x" is not an absolute path'),
    ],
)
def test_options_of_volumes_that_are_not_done_are_told(options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_options("pages", options)
    assert message in str(caught.value)


def test_options_of_volumes_that_are_directories_of_the_machine_are_kept() -> None:
    for options in ({}, {"type": "none", "o": "rbind,rw", "device": "/x"}, {"type": "bind", "device": "/x"}):
        assert check_options("pages", options) == options
