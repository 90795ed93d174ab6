"""Data, models and training on the host: from a folder or a data set's name to a RUN folder."""
