"""Structure files -> migration paths: which ion moves between two cells, and which vacancy hops one cell has."""
