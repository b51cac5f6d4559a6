"""What can be seen of containers from outside: what happens to them, what runs in them, what they use."""
