"""The HTML report: what is known about some runs and bundles, on one page that needs nothing else."""
