"""`python -m backpass`: the command where its script is not on the path."""

from backpass.cli.main import main

main()
