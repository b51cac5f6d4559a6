"""What command lines may hold: options, and their values as the API takes them."""
