"""Values of the OCI specifications."""
