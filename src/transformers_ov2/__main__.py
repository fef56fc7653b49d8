# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m transformers_ov2`: the command `transformers-ov2`."""

import sys

from .cli import main


if __name__ == "__main__":
    sys.exit(main())
