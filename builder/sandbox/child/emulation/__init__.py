"""Emulated owners and credentials for a sandbox that has one id: a seccomp supervisor answers its system calls."""
