"""`python -m rigwright` is `rigwright`."""

from rigwright.cli import main

main()
