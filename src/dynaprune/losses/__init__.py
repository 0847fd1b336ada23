"""From the loss of a batch to an epoch's measurements."""
