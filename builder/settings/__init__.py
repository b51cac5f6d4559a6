"""What the environment and the configuration file say."""
