"""The screens of tiffin explore. Owner of textual."""
