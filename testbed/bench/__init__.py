"""`python -m testbed.bench [lab|traversal ...]`: figures beside references, in one run."""
