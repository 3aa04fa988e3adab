"""Admission: what the API server asks the operator before it keeps an object (WH-01 to WH-12).

configurations ── which writes the API server asks about, and where (objects to install)
keeper ────────── certificates: makes them, watches over them, tells the API server whom to trust   (I/O)
  └ certificates, bundles      what is to be done about them                                        (pure)
server ────────── HTTPS, one per replica, from the moment there is a certificate                    (I/O)
  └ review ────── AdmissionReview in, AdmissionReview out                                           (pure)
      ├ defaulting                        what a mutating webhook fills in
      └ judging ─ request_rules, graph_rules, other_rules     what a validating webhook refuses
"""

__all__: list[str] = []
