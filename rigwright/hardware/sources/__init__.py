"""One module per source: the text of one command in, a Reading out."""
