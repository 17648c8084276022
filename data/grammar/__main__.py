"""`python -m data.grammar data/sample` writes the sample corpus."""

import sys

from data.grammar.corpus import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
