"""The Dockerfile language: text to nodes, words, lint."""
