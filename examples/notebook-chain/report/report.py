"""Add up lunches."""

import getpass

import numpy

print(f"{getpass.getuser()} counts {numpy.arange(4).sum()} lunches")
