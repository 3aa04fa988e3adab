"""How far the estimates are from measured deployments: the rows, our answer to each, the fit and the score."""
