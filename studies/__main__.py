"""`python -m studies NAME [draw] [jobs=2] [key=value ...]`"""

import sys

from studies.instrument.runner import main

if __name__ == "__main__":
    main(sys.argv[1:])
