"""Lists of the software in images, and what is known to be wrong with it."""
