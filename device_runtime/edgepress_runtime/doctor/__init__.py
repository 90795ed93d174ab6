"""What this board is, what of it works, and what mends the rest."""
