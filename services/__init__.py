"""The services of MineGNK, one package each, and the kernel they share."""
