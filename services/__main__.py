"""`python -m services` is `minegnk`."""

from services.cli.main import main

if __name__ == "__main__":
    main()
