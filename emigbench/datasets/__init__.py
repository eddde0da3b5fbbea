"""How records come to be: source files, curation, the tables that ship with the package, load()."""
