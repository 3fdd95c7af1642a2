"""Command line of the suite.

python -m benchmarks                         a short run, under two minutes on two CPUs
python -m benchmarks --full --json R.json --pictures DIR
python -m benchmarks --only pair latency
python -m benchmarks compare OLD.json NEW.json
python -m benchmarks draw R.json DIR [QUESTION ...]
python -m benchmarks tables R.json          the tables of README.md and benchmarks/README.md
"""

from __future__ import annotations

import argparse
import pathlib
import shlex
import sys
import time
from collections.abc import Sequence

from benchmarks import compare, pictures, questions, results, tables, timing
from benchmarks.plan import Plan
from kacflow.cli.arguments import Parser


def _run_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m benchmarks",
        description="Benchmarks of kacflow; every time with the error that goes with it.",
        epilog="Also: python -m benchmarks compare OLD.json NEW.json [--strict]; "
        "python -m benchmarks draw RESULTS.json DIR [QUESTION ...]; "
        "python -m benchmarks tables RESULTS.json",
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--full", action="store_true", help="more sizes, more calls")
    length.add_argument("--smoke", action="store_true", help="only see that everything runs")
    parser.add_argument("--only", nargs="+", choices=questions.NAMES, metavar="QUESTION",
                        help=f"out of {', '.join(questions.NAMES)}")  # fmt: skip
    parser.add_argument("--device", default="cpu", metavar="DEVICE",
                        help="cpu (default), cuda or cuda:N")  # fmt: skip
    parser.add_argument("--threads", nargs="+", type=int, metavar="N",
                        help="thread counts to measure at (default: 1 and 2)")  # fmt: skip
    parser.add_argument("--seconds", type=float, default=0.0, help="time per comparison")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the results")
    parser.add_argument("--pictures", type=pathlib.Path, metavar="DIR", help="draw them, as PNG")
    parser.add_argument("--list", action="store_true", help="list the questions and leave")
    return parser


def _run(arguments: Sequence[str]) -> int:
    parser = _run_parser()
    options = parser.parse_args(arguments)
    if options.list:
        for name in questions.NAMES:
            print(f"{name:10} {questions.load(name).TITLE}")
        return 0
    try:
        device = timing.find_device(options.device)
    except ValueError as error:
        parser.error(f"--device: {error}")
    if options.threads and min(options.threads) < 1:
        parser.error(f"--threads: got {min(options.threads)}; allowed: positive numbers")
    mode = "full" if options.full else "smoke" if options.smoke else "short"
    plan = Plan(mode, device, tuple(options.threads or ()), options.seconds)
    surroundings = results.environment(plan.device)
    timing.settle_allocator()
    print(", ".join(f"{key} {value}" for key, value in surroundings.items()), flush=True)
    began, answers = time.perf_counter(), {}
    names = options.only or questions.NAMES
    for number, name in enumerate(names, 1):
        question = questions.load(name)
        plan.say(f"({number}/{len(names)}) {question.TITLE}")
        answers[name] = question.run(plan)
        if answers[name]:
            print(f"\n== {name}: {question.TITLE}\n{results.table(answers[name])}", flush=True)
    for line in plan.skipped:
        print(f"skipped: {line}")
    print(f"\n{time.perf_counter() - began:.0f} s in all")
    command = shlex.join(["python", "-m", "benchmarks", *arguments])
    content = results.record(command, mode, surroundings, answers, plan.skipped)
    if options.json:
        results.write(options.json, content)
        print(f"results: {options.json}")
    if options.pictures:
        for file in pictures.draw_all(options.pictures, answers, surroundings):
            print(f"picture: {file}")
    return 0


def _compare(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m benchmarks compare")
    parser.add_argument("old", type=pathlib.Path)
    parser.add_argument("new", type=pathlib.Path)
    parser.add_argument("--strict", action="store_true", help="exit status 1 on a regression")
    options = parser.parse_args(arguments)
    try:
        text, regressions = compare.compare(results.read(options.old), results.read(options.new))
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print(text)
    return 1 if options.strict and regressions else 0


def _draw(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m benchmarks draw")
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("question", nargs="*", help="those to draw (default: all)")
    options = parser.parse_args(arguments)
    try:
        content = results.read(options.results)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    answers = content["questions"]
    unknown = sorted(set(options.question) - set(answers))
    if unknown:
        parser.error(f"question: got {', '.join(unknown)}; {options.results} has "
                     f"{', '.join(answers)}")  # fmt: skip
    chosen = {name: answers[name] for name in options.question or answers}
    for file in pictures.draw_all(options.folder, chosen, content["environment"]):
        print(f"picture: {file}")
    return 0


def _tables(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m benchmarks tables")
    parser.add_argument("results", type=pathlib.Path)
    options = parser.parse_args(arguments)
    try:
        made = tables.all_tables(results.read(options.results))
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print("\n\n".join(made.values()))
    return 0


def main(arguments: Sequence[str]) -> int:
    """Run, compare, draw or print tables."""
    command = {"compare": _compare, "draw": _draw, "tables": _tables}.get(
        arguments[0] if arguments else ""
    )
    return command(arguments[1:]) if command else _run(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
