"""Tiers of isolation: one file for each, with what it needs, how it is tried, what it can do, and what would allow
it.
"""
