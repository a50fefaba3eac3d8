"""Does a text speak to its judge or teacher instead of to its user? Pure functions on text, standard library only."""
