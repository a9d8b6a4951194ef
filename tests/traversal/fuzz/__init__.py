"""Coverage-guided fuzzing of every parser that reads what a stranger sent.

`make fuzz` runs each target under libFuzzer (atheris); test_fuzz_smoke.py runs some
thousand seeded mutations of each without it.
"""
