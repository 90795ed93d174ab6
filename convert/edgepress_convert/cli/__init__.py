"""The `edgepress` command: parsing and showing, nothing else."""
