"""The field's commands, as images bring them: each module here becomes our process of the same use."""

__all__: list[str] = []
