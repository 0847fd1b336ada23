"""`python -m dynaprune`."""

from .cli import main

main()
