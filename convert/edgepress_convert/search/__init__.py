"""Search: recipes proposed by Optuna, tried cheaply first, then in full, until a budget is met or time is over."""
