"""Successive halving of a few architectures by short trainings."""
