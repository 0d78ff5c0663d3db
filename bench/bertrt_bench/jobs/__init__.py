"""Bulk jobs beside one call in memory, and killed."""
