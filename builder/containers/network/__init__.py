"""Connect a container: networks, published ports, names."""
