"""`python -m dynaprune`."""

from .cli.main import main

main()
