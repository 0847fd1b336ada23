"""Tasks for `dynaprune bench`: models and data of many kinds, each small enough for two cores."""
