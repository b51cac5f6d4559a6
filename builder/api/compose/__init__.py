"""What the commands of compose do."""
