"""Runs a graph on this machine: a DGD becomes supervised processes (issue 3 §7).

`components` reads the graph, `engine` gives each worker its step times and limits, `plan` turns both into
`spec.ProcessSpec`s; `up` hands them to a `supervisor` process, which keeps them alive with `supervise` and says in
`state` how they are. Kept empty of imports: the supervisor process must start fast and stay small.
"""
