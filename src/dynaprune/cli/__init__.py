"""The `dynaprune` command."""
