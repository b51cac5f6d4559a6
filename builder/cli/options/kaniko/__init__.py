"""Kaniko's executor: what may stand on its line, and what that asks for."""
