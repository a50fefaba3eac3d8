"""The project folder: create it, add data, hold data out, export the dataset."""
