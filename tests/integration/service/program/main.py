"""Says what a page is like, with packages that were wheels."""

import sys
from pathlib import Path

import click
import idna

click.echo(f"{len(Path(sys.argv[1]).read_text().splitlines())} dishes {idna.encode('küche').decode()}")
