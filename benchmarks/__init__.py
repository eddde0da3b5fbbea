"""What the project watches: times (`make benchmark`), and how often intervals and p-values hold what they promise."""
