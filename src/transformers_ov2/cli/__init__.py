# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
The command `transformers-ov2`.

Every sub-command is a module with a docstring (its help), `add_arguments(parser)` and `run(args) -> int`, listed in
`COMMANDS`. Nothing heavy is imported before a command runs: torch and transformers belong inside `run`.

Exit codes: 0 done, 1 failed (one line on stderr says why), 2 wrong usage, 130 interrupted. With `--json`, stdout holds
one JSON object a line and nothing else.
"""

import argparse
import os
import sys
import warnings

from .. import __version__
from . import ask, convert, demo, doctor, inspect, merge, serve, tokenize


PROGRAM = "transformers-ov2"
COMMANDS = (demo, ask, tokenize, inspect, serve, merge, convert, doctor)
EXAMPLES = """\
examples:
  transformers-ov2 demo
  transformers-ov2 ask clip.mp4 --prompt "When does she jump?"
  transformers-ov2 inspect clip.mp4
  transformers-ov2 COMMAND --help
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="LLaVA-OneVision-2: ask about videos and images, look at codec streams, prepare checkpoints.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    for module in COMMANDS:
        summary, _, _ = module.__doc__.strip().partition("\n")
        command = commands.add_parser(
            module.__name__.rpartition(".")[2],
            help=summary[0].lower() + summary[1:].rstrip("."),
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.add_argument("--json", action="store_true", help="print JSON for machines, one object a line")
        command.set_defaults(run=module.run, usage_error=command.error)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command line `argv` (that of the process by default) and returns the exit code."""
    args = build_parser().parse_args(argv)
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            code = args.run(args)
            sys.stdout.flush()
            return code
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130
        except BrokenPipeError:  # whoever read the output has enough of it
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        # What bad input raises here and in the libraries. Anything else is a mistake of ours and keeps its trace.
        except (ImportError, OSError, ValueError) as error:
            print(f"{PROGRAM} {args.command}: {one_line(error)}", file=sys.stderr)
            return 1


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    print(f"warning: {one_line(message)}", file=sys.stderr)


__all__ = ["main"]
