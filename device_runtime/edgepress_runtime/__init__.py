"""Everything that runs on the board: bundles, preprocessing, one engine, the model store, measuring.

Importing this package loads nothing but itself; each module brings what it needs.
"""

__version__ = "0.1.0"
