"""The questions that are asked: which cases, how one is run, what is expected, how it is judged."""
