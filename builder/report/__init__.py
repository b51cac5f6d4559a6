"""A page about a build and its image: what it tells, and the HTML file."""
