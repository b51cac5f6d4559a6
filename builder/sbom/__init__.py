"""What software is in an image, by the tables of its layers: packages, and the documents that list them."""
