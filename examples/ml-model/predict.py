"""Add up the first weights of a model."""

import numpy

weights = numpy.memmap("/model/weights.bin", dtype=numpy.uint8, mode="r")
print(f"{weights.size >> 20} MB of weights, {weights[:4].size} of them used")
