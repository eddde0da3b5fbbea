"""Scores for people: the terminal and the leaderboard."""
