"""Steps of builds and what they made: a shell where one failed, the lines that made a file."""
