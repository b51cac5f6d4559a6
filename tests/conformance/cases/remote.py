"""ADD of URLs and repositories (reference 1.5 ADD; test ideas 38 to 40). `{http}` is the file server's address."""

from __future__ import annotations

from tests.conformance.case import table

ZEROS = "0" * 64
TEXT = "sha256:5991bb3d2d79290da20936e638ef75b27d7d2f897aa93f6bc17f95553329c2cc"  # of file.txt

CASES = [
    *table(
        "url",
        "ADD: HTTP(S)",
        "FROM base\nWORKDIR /w\n@@\n",
        {
            "to-name": "ADD {http}/file.txt /x",
            "to-directory": "ADD {http}/file.txt /d/",
            "to-existing-directory": "ADD {http}/file.txt /w",
            "to-dot": "ADD {http}/file.txt .",
            "without-name": "ADD {http}/dir/ /d/",
            "without-name-to-name": "ADD {http}/dir/ /x",
            "query-is-no-name": "ADD {http}/file.txt?a=b/c /d/",
            "redirect-keeps-name": "ADD {http}/old.txt /d/",
            "archive-stays": "ADD {http}/archive.tar.gz /d/",
            "archive-unpacked": "ADD --unpack=true {http}/archive.tar.gz /d/",
            "archive-unpacked-plain": "ADD --unpack {http}/archive.tar /d",
            "archive-not-unpacked": "ADD --unpack=false {http}/archive.tar /d/",
            "text-unpacked": "ADD --unpack=true {http}/file.txt /d/",
            "owner": "ADD --chown=3:4 {http}/file.txt /d/",
            "owner-by-name": "ADD --chown=alice {http}/file.txt /x",
            "mode": "ADD --chmod=644 {http}/file.txt /d/",
            "mode-words": "ADD --chmod=u+x {http}/file.txt /x",
            "several": "ADD {http}/file.txt {http}/archive.tar /d/",
            "with-a-file": {"put": "ADD {http}/file.txt a.txt /d/", "context": "tree"},
            "json": 'ADD ["{http}/file.txt", "/a b/"]',
            "variable": "ENV u={http} n=file.txt\nADD $u/$n /x",
            "link": "ADD --link {http}/file.txt /l/x",
            "checksum": f"ADD --checksum={TEXT} {{http}}/file.txt /x",
            "checksum-variable": f"ARG c={TEXT}\nADD --checksum=$c {{http}}/file.txt /x",
            "checksum-wrong": (f"ADD --checksum=sha256:{ZEROS} {{http}}/file.txt /x", "(?i)digest mismatch"),
            "checksum-no-digest": ("ADD --checksum=abc {http}/file.txt /x", "(?i)checksum|digest"),
            "checksum-sha512": (f"ADD --checksum=sha512:{ZEROS * 2} {{http}}/file.txt /x", "(?i)sha512|digest"),
            "not-found": ("ADD {http}/nothing /x", "(?i)404|not found"),
            "nobody-listens": ("ADD http://127.0.0.1:9/file /x", "(?i)refused"),
            "replaces": "ADD {http}/file.txt /x\nADD {http}/old.txt /x",
            "not-for-copy": ("COPY {http}/file.txt /x", "(?i)can't be a URL"),
        },
    ),
    *table(
        "git",
        "ADD: repositories",
        "FROM base\nWORKDIR /w\nADD @@\n",
        {
            "head": "{http}/repo.git /r",
            "slash": "{http}/repo.git /r/",
            "dot": "{http}/repo.git .",
            "branch": "{http}/repo.git#side /r",
            "tag": "{http}/repo.git#v1 /r",
            "full-ref": "{http}/repo.git#refs/heads/side /r",
            "subdirectory": "{http}/repo.git#main:sub /r",
            "subdirectory-of-head": "{http}/repo.git#:sub /r",
            "subdirectory-slashes": "{http}/repo.git#main:/sub/ /r",
            "owner": "--chown=3:4 {http}/repo.git#v1 /r",
            "mode": "--chmod=700 {http}/repo.git#v1:sub /r",
            "link": "--link {http}/repo.git#v1 /r",
            "query-ref": "{http}/repo.git?ref=side /r",
            "query-branch": "{http}/repo.git?branch=side /r",
            "query-tag-and-subdirectory": "{http}/repo.git?tag=v1&subdir=sub /r",
            "query-unknown": ("{http}/repo.git?tga=v1 /r", "(?i)tga"),
            "query-and-fragment": ("{http}/repo.git?tag=v1#main:sub /r", "(?i)fragment|conflict"),
            "query-two-refs": ("{http}/repo.git?tag=v1&branch=side /r", "(?i)tag|conflict|several"),
            "no-such-ref": ("{http}/repo.git#none /r", "(?i)none"),
            "no-such-subdirectory": ("{http}/repo.git#main:none /r", "(?i)none"),
            "subdirectory-climbs": ("{http}/repo.git#main:../x /r", r"(?i)\.\."),
            "checksum-wrong": ("--checksum=abcdef0123 {http}/repo.git /r", "(?i)mismatch|expected"),
            "variable": "{http}/repo.git#${none} /r",
        },
    ),
]
