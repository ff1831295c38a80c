"""Encrypted and authenticated connections, secrets, and what keeps them."""
