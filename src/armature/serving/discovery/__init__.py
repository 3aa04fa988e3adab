"""Which workers there are: one small interface, a backend per place to run."""
