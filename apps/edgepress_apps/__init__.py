"""What people run on an edgepress board. Importing this package loads nothing but itself."""

__version__ = "0.1.0"
