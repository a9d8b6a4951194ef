"""`python -m testbed.bench [lab|traversal|explain ...]`: figures beside references, in one run."""
