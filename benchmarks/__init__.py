"""Times that the project watches; `make benchmark` prints them."""
