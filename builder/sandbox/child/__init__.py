"""Run between the fork of a sandbox and its command; these modules import nothing of ours but each other."""
