"""Signs what it is told."""

import os
import sys

from itsdangerous import Signer

if __name__ == "__main__":
    print(Signer("key").unsign(Signer("key").sign(sys.argv[2])).decode(), os.getuid() != 0)
