"""What a run writes beside training: recordings, loggers, the report, tables."""
