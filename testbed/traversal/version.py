"""The library's version: that of the testbed whose commit it is of."""

__version__ = "0.2.0"
