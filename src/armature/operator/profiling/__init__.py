"""From a request to its answer, in a profiling Job or in the operator itself: one function for both."""

__all__: list[str] = []
