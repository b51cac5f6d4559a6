"""What the commands of compose have in common: lines, services, what is printed."""
