"""From cells to the numbers that a network takes in: one file a kind of column."""
