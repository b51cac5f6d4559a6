"""Prove to a registry who we are."""
