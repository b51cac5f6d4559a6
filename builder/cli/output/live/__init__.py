"""What the live view knows of a build: its plan, and how long steps took before."""
