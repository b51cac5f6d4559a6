"""Read and write the tar of a layer."""
