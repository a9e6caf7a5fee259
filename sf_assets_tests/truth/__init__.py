"""Worlds whose truth is known, played through the product and judged after every day."""
