"""Policies in Rego, as buildx has them in Dockerfile.rego: its documents, its functions, its decision."""
