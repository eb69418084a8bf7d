"""Helpers that every room may use: whole-file writes, workers, checked options. No torch here."""
