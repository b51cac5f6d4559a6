"""What `tiffin debug` looks into: what a failed RUN left, and steps opened for another command."""
