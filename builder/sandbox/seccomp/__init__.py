"""Make the seccomp filter of a sandbox from a profile."""
