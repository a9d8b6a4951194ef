"""Frozen values that the rooms exchange.  Nothing here has an effect or makes a sentence."""
