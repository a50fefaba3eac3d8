"""Reading the store for the screens: everything here is free of Textual and of writing."""
