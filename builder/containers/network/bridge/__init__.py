"""The process that is a network: a bridge, names, published ports."""
