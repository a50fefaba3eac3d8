"""A project's folder: creating it, adding data, holding data out, taking the dataset out."""
