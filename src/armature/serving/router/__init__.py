"""Which worker gets a request: pure choosers."""
