"""Plays the harness to one peer on loopback, without a lab, and says what breaks the contract."""
