"""The discrete-event twin: a deployment of the mocker's own engines, replayed in virtual time."""
