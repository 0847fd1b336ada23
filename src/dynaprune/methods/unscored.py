"""Which methods select without scores, for advice that is about scores."""

UNSCORED = ("NoPrune", "RandomPrune", "StaticPrune")
"""The names of methods that do not read scores; recordings have only names."""
