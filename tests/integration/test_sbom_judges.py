"""Documents, as the libraries of SPDX and CycloneDX see them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.sink import RecordingSink
from tests.support import software_files as software
from tests.support.minimal_image import write_image
from tiffin.builder.api.sbom.listing import Bill, SbomOptions, document, list_software
from tiffin.builder.api.session import Session
from tiffin.builder.settings.access import RegistryAccess


@pytest.fixture(scope="module", params=[False, True], ids=["packages", "files"])
def bill(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Bill]:
    session = Session(tmp_path_factory.mktemp("sbom") / "state")
    write_image(session.state.root, software.IMAGE, name="docker.io/library/app:1")
    options = SbomOptions(registry=RegistryAccess(), lists_files=request.param)
    yield list_software("app:1", options, session, RecordingSink())
    session.table.close()


def test_spdx_accepts_its_document(bill: Bill, tmp_path: Path) -> None:
    from spdx_tools.spdx.parser.parse_anything import parse_file
    from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

    place = tmp_path / "app.spdx.json"
    place.write_text(json.dumps(document(bill, "spdx-json")))
    parsed = parse_file(str(place))
    assert [message.validation_message for message in validate_full_spdx_document(parsed)] == []
    assert len(parsed.packages) == len(bill.inventory.components) + 2 and len(parsed.files) == len(bill.files)


def test_cyclonedx_accepts_its_document(bill: Bill) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = json.dumps(document(bill, "cyclonedx-json"))
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
