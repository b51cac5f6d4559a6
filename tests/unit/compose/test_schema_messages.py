"""What the schema of compose files does not allow is told by name, file and line."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tiffin.builder.compose.model.values import Project
from tiffin.builder.errors import ComposeError

HEAD = "services:\n  web:\n    image: x\n"


@pytest.mark.parametrize(
    ("text", "line", "message", "remedy"),
    [
        (HEAD + "    volume: []\n", 4, 'services.web has an unknown key "volume"', "volumes"),
        (HEAD + "    zzzzzz: 1\n", 4, 'services.web has an unknown key "zzzzzz"', "x-"),
        ("services:\n  we b:\n    image: x\n", 2, '"we b" is not a valid name', "letters, digits"),
        (HEAD + "    privileged: [1]\n", 4, "services.web.privileged must be true or false or a text, not a list", ""),
        (HEAD + "    user:\n      a: 1\n", 4, "services.web.user must be a text, not a mapping", ""),
        (HEAD + "    ports:\n      - {target: 80, mode: {}}\n", 5, "services.web.ports[0]", ""),
        (
            HEAD + "    deploy:\n     resources:\n      reservations:\n       devices: [{}]\n",
            7,
            "must have capabilities",
            "",
        ),
        (
            HEAD + "    develop:\n      watch:\n        - {path: a, action: jump}\n",
            6,
            '"jump"; it may be ',
            "specification",
        ),
        (HEAD + "    group_add: [a, a]\n", 4, "services.web.group_add has an item twice", "specification"),
        (
            HEAD + "    command: {a: 1}\n",
            4,
            "services.web.command must be nothing or a text or a list, not a",
            "",
        ),
        (HEAD + "    depends_on: 5\n", 4, "services.web.depends_on must be a list or a mapping, not 5", ""),
        (HEAD + "    env_file: [{required: true}]\n", 4, "services.web.env_file[0] must have path", "specification"),
        (
            HEAD + "    deploy: {update_config: {order: x}}\n",
            4,
            'order is "x"; it may be start-first, stop-first',
            "specification",
        ),
        ("services: []\n", 1, "services must be a mapping, not a list", ""),
        ("services:\n  web:\n", 2, "services.web must be a mapping, not nothing", ""),
        ("services:\n  web: 5\n", 2, "services.web must be a mapping, not 5", ""),
    ],
)
def test_what_the_schema_refuses_is_told(
    text: str, line: int, message: str, remedy: str, load: Callable[[str], Project]
) -> None:
    with pytest.raises(ComposeError) as caught:
        load(text)
    assert message in str(caught.value), str(caught.value)
    assert f":{line}" in str(caught.value), str(caught.value)
    assert remedy in (caught.value.remedy or "")
