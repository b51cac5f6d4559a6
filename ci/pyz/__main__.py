"""Start tiffin from a single file: unpack the packages once into the user's cache directory, import them from there."""

import os
import sys

IDENTITY = "@IDENTITY@"  # a digest of what is inside
PYTHON = "@PYTHON@"  # whose extension modules are inside: sys.implementation.cache_tag and the machine


def main() -> None:
    """Run the command; end with an error where the packages cannot be unpacked or belong to another user."""
    here = f"{sys.implementation.cache_tag}-{os.uname().machine}"
    if here != PYTHON:
        fail(f"it is made for {PYTHON}, this is {here}; take the file made for it, or pip install tiffin")
    folder = os.environ.get("TIFFIN_PYZ_DIR") or cache_folder()
    place = f"{folder}/pyz-{IDENTITY}"
    try:
        found = os.lstat(place)
    except FileNotFoundError:
        unpack(place)
    except OSError as exc:
        fail(f"cannot look at {place}: {exc.strerror}; set TIFFIN_PYZ_DIR to a folder of yours")
    else:
        if found.st_uid not in (0, os.geteuid()):
            fail(f"{place} belongs to user {found.st_uid}; set TIFFIN_PYZ_DIR to a folder of yours")
    sys.path[:] = [place, *(path for path in sys.path[1:] if path)]
    from tiffin.builder.__main__ import main as run

    run()


def cache_folder() -> str:
    """Return the folder of tiffin in the cache directory of the XDG base directory specification."""
    folder = os.environ.get("XDG_CACHE_HOME", "")
    return f"{folder}/tiffin" if folder.startswith("/") else os.path.expanduser("~/.cache/tiffin")


def unpack(place: str) -> None:
    """Make `place`: whole, with compiled code, or not at all."""
    import compileall
    import shutil
    import tempfile
    import zipfile

    folder = os.path.dirname(place)
    scratch = ""
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        scratch = tempfile.mkdtemp(prefix=f"{os.path.basename(place)}.", dir=folder)
        with (
            zipfile.ZipFile(sys.argv[0]) as outer,
            outer.open("packages.zip") as stream,
            zipfile.ZipFile(stream) as inner,
        ):
            inner.extractall(scratch)
        compileall.compile_dir(scratch, quiet=2, stripdir=scratch, prependdir=place)
        os.chmod(scratch, 0o755)
        os.rename(scratch, place)
    except OSError as exc:
        shutil.rmtree(scratch, ignore_errors=True)
        if not os.path.isdir(place):  # else another process was quicker
            fail(f"cannot unpack into {folder}: {exc.strerror}; set TIFFIN_PYZ_DIR to a folder that may be written")


def fail(text: str) -> None:
    """Print why the file cannot run and end."""
    sys.exit(f"error: {os.path.basename(sys.argv[0])}: {text}")


main()
