"""Signatures of images and of what is attested of them, in the formats of cosign and Sigstore."""
