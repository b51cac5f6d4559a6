"""The walls of a container, as its options ask for them: what its sandbox is."""
