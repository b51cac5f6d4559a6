"""What commands print: progress, lists, templates, errors."""
