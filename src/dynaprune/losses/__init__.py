"""The loss of a batch: checked, reweighted, and recorded as measurements of the epoch.

Reading a loss from a device makes the program wait for it, so nothing here reads one before the
epoch ends. A `Measurements` is all that the scores see: a mean loss, of one sample, of a slice or
of a batch, and the samples behind it. A loss vector is the case of one sample each.
"""
