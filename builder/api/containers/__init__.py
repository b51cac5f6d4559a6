"""What is done with containers: made, begun, followed, ended, entered."""
