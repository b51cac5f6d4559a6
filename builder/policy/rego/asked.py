"""What the rules of a policy ask of a source, by the names in their text: nothing else is looked up."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tiffin.builder.policy.facts import GIT, IMAGE
from tiffin.builder.policy.rego.documents import is_whole

# of a repository: what a short name stands for, at which commit it is, and what is there
REF_MEMBERS = ("tagName", "branch", "ref")
COMMIT_MEMBERS = ("checksum", "commitChecksum", "isSHA256")
OBJECT_MEMBERS = ("commit", "isAnnotatedTag", "tag")
# of an image that another was made from: what its name does not tell
LOOKED_UP = ("createdTime", "env", "labels", "user", "volumes", "workingDir", "hasProvenance", "signatures")
MATERIALS = "materials"
_BEFORE = r"(?P<before>[\w.\[\]\"]*)"  # a member is reached by its whole name, or through another one


class Asked:
    """The members that modules name."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = tuple(texts)

    def names(self, word: str) -> bool:
        """Whether a word is anywhere."""
        return any(re.search(rf"\b{word}\b", text) for text in self._texts)

    def asks(self, kind: str, member: str) -> bool:
        """Whether a rule asks for a member of such a source: by its whole name, or of a variable, which may be one."""
        return any(_uses(text, kind, member) for text in self._texts)

    def asks_repository(self, ref: str, checksum: str) -> bool:
        """Whether a rule asks more of a repository than what its name tells."""
        members = [*OBJECT_MEMBERS, *(() if is_whole(ref) else REF_MEMBERS), *(() if checksum else COMMIT_MEMBERS)]
        return any(self.asks(GIT, member) for member in members)

    def asks_into_materials(self) -> bool:
        """Whether a rule asks more of what an image was made from than its name."""
        return any(_uses(text, MATERIALS, member) for text in self._texts for member in LOOKED_UP) or any(
            re.search(rf"{MATERIALS}[\w.\[\]]*\.provenance\b", text) for text in self._texts
        )

    def asks_image(self, member: str) -> bool:
        """Whether a rule asks for a member of an image."""
        return self.asks(IMAGE, member)


def _uses(text: str, kind: str, name: str) -> bool:
    """Whether a text has a member; the tag of an image is a text, and what a repository calls so has members."""
    after = r"(?!\w)" if name != "tag" else r"(?=[.\[,) ])"
    for found in re.finditer(rf'{_BEFORE}(?:\.{name}|\["{name}"\]){after}', text):
        path = re.sub(r'\["(\w+)"\]', r".\1", found["before"])
        if kind == MATERIALS and MATERIALS in path:
            return True
        if path == f"input.{kind}" or not re.match(r"(?:input|data|decision)\b", path):
            return True
    return False
