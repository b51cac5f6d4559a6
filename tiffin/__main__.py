"""Start the command line: `python -m tiffin`."""

from tiffin.builder.__main__ import main

main()
