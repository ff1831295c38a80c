"""The `minegnk` command."""
