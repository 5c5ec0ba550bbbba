"""Drives the built binary with stock clients. Nothing here knows the program's code."""
