"""Policies: what may come in and go out, in TOML, Rego or containers' policy.json; the log of what was decided."""
