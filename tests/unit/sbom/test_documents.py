"""What documents say; tests/integration/test_sbom_judges.py asks whether they may."""

from __future__ import annotations

import json

import pytest

from tests.fakes.sink import RecordingSink
from tests.support import software_files as software
from tests.support.minimal_image import write_image
from tiffin.builder.api.sbom.listing import FORMATS, Bill, SbomOptions, document, list_software
from tiffin.builder.api.session import Session
from tiffin.builder.settings.access import RegistryAccess


@pytest.fixture(scope="module")
def bill(tmp_path_factory: pytest.TempPathFactory) -> Bill:
    session = Session(tmp_path_factory.mktemp("sbom") / "state")
    write_image(session.state.root, software.IMAGE, name="docker.io/library/app:1")
    options = SbomOptions(registry=RegistryAccess(), lists_files=True)
    found = list_software("app:1", options, session, RecordingSink())
    session.table.close()
    return found


@pytest.mark.parametrize("form", FORMATS)
def test_documents_say_the_same_each_time(bill: Bill, form: str) -> None:
    assert json.dumps(document(bill, form)) == json.dumps(document(bill, form))


def test_documents_say_what_was_not_read(bill: Bill) -> None:
    for form in FORMATS:
        assert "var/lib/rpm/Packages.db" in json.dumps(document(bill, form)), form


def test_packages_have_layer_and_licences(bill: Bill) -> None:
    packages = document(bill, "spdx-json")["packages"]
    assert isinstance(packages, list)
    by_name = {row["name"]: row for row in packages}
    assert by_name["libc6"]["comment"].startswith("layerID: sha256:")
    assert by_name["Odd name"]["licenseDeclared"] == "LicenseRef-Words-of-ours-c"
    assert by_name["libc6"]["supplier"].startswith("Person: GNU Libc Maintainers (debian-glibc@")
    assert by_name["app:1"]["primaryPackagePurpose"] == "CONTAINER"
