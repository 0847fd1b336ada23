"""The loss of a batch: checked, reweighted, and recorded as measurements of the epoch."""
