"""What belongs to an image and lies beside it: attestations and signatures, as values and where they are."""
