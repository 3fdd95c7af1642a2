"""The implementations behind the public functions; see :mod:`kacflow_core._dispatch`."""
