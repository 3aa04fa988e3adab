"""Profile to graph: the `DynamoGraphDeployment` that runs a pick, and the proof that it can start.

`build` writes the graph (`backends` the engines' words, `pods` what every pod needs, `planner` its component),
`overrides` lays the user's partial graph over it, `preflight` judges it. `engine_flags` and `component_view` read
any graph, ours or foreign, for preflight and for the local runner. All of it is pure.
"""

from __future__ import annotations
