"""Card data in every place and form, sent down the real path, and a search for what is left of it."""
