"""DynamoGraphDeploymentRequests: what one needs next (`decide`), what that is made of, and the hands that do it."""

__all__: list[str] = []
