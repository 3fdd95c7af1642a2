"""Command line of the experiments on quality.

python -m benchmarks.quality --list
python -m benchmarks.quality --only digits --budget short --jobs 2
python -m benchmarks.quality --only modes --device cuda --jobs 15 --picture modes.png
"""

from __future__ import annotations

import argparse
import pathlib
import shlex
import sys
import time
from collections.abc import Sequence
from typing import Any

from benchmarks import results, timing
from benchmarks.quality import pictures, pool, questions, statistics, tables, worker
from benchmarks.quality.plan import BUDGETS, Task

OUT = pathlib.Path("runs/quality")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality",
        description="What networks generate that differ in their noise, and in nothing else. "
        "Started again, it goes on with what an earlier call has left.",
    )
    parser.add_argument("--list", action="store_true", help="list the questions and leave")
    parser.add_argument("--only", nargs="+", choices=questions.NAMES, metavar="QUESTION",
                        help=f"out of {', '.join(questions.NAMES)}")  # fmt: skip
    parser.add_argument("--conditions", nargs="+", metavar="NAME",
                        help="some of a question's conditions (default: all)")  # fmt: skip
    lengths = ", ".join(f"{name}: {budget.steps}" for name, budget in BUDGETS.items())
    parser.add_argument("--budget", choices=BUDGETS, default="short",
                        help=f"steps of each training ({lengths}); smoke only sees that all "
                        "runs")  # fmt: skip
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="seeds 0 to N - 1")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="trainings at a time")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--data", default="", metavar="FILE",
                        help="of cifar10: a zip of images in a folder a class, or the archive "
                        "of its authors")  # fmt: skip
    parser.add_argument("--out", type=pathlib.Path, default=OUT, metavar="FOLDER",
                        help=f"of the runs (default: {OUT})")  # fmt: skip
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE",
                        help="results of one question (default: benchmarks/results/"
                        "quality-QUESTION.json; of smoke runs in --out)")  # fmt: skip
    parser.add_argument("--picture", type=pathlib.Path, metavar="FILE",
                        help="draw the results of one question, as PNG")  # fmt: skip
    return parser


def record(
    name: str, tasks: Sequence[Task], command: str, environment: dict[str, Any]
) -> dict[str, Any]:
    """The record of a question: its tasks that are measured, and their summary."""
    question, first = questions.load(name), tasks[0]
    runs, configurations = [], {}
    for task in tasks:
        found = worker.result_of(task)
        if found is not None:
            config = found.pop("description")["config"]
            runs.append({"condition": task.condition, "seed": task.seed, **found})
            if config is not None:
                configurations[task.condition] = {k: v for k, v in config.items() if k != "seed"}
    seeds = sorted({task.seed for task in tasks})
    floors = question.real(first, seeds)
    return {
        "format": results.FORMAT,
        "question": name,
        "title": question.TITLE,
        "command": command,
        "budget": first.budget,
        "seeds": seeds,
        "environment": environment,
        "samples": first.samples,
        "method": question.METHOD,
        "measures": {**question.MEASURES, **tables.COMMON},
        "reference": question.REFERENCE,
        "configurations": configurations,
        "missing": [task.name for task in tasks if worker.result_of(task) is None],
        "summary": statistics.summary(runs, question.REFERENCE),
        "real": {measure: statistics.spread(values) for measure, values in floors.items()},
        "runs": runs,
    }


def needs_data(name: str) -> bool:
    """Whether a question is about a file that its user has."""
    return getattr(questions.load(name), "NEEDS_DATA", False)


def _tasks(name: str, options: argparse.Namespace) -> list[Task]:
    """All trainings of a question, seed by seed."""
    chosen = options.conditions or list(questions.load(name).CONDITIONS)
    out = options.out.resolve()
    return [
        Task(name, condition, seed, options.budget, options.device, out, options.data)
        for seed in range(options.seeds)
        for condition in chosen
    ]


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> list[str]:
    """The names of the questions that are asked, if the options make sense."""
    names = list(options.only or (n for n in questions.NAMES if options.data or not needs_data(n)))
    for option in ("seeds", "jobs"):
        value = getattr(options, option)
        if value < 1:
            parser.error(f"--{option}: got {value}; allowed: an integer >= 1")
    for option in ("json", "picture", "conditions"):
        if getattr(options, option) and len(names) > 1:
            parser.error(f"--{option}: needs --only with one question")
    for name in names:
        if needs_data(name) and not options.data:
            parser.error(f"--data: got none; allowed with --only {name}: a file")
    if options.data:
        options.data = str(pathlib.Path(options.data).resolve())
    known = questions.load(names[0]).CONDITIONS
    unknown = sorted(set(options.conditions or ()) - set(known))
    if unknown:
        parser.error(f"--conditions: got {', '.join(unknown)}; allowed: {', '.join(known)}")
    return names


def main(arguments: Sequence[str]) -> int:
    """Train what is not trained yet, measure, and write the results; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.list:
        for name in questions.NAMES:
            print(f"{name:16} {questions.load(name).TITLE}")
        return 0
    names = _check(parser, options)
    try:
        environment = results.environment(timing.find_device(options.device))
    except ValueError as error:
        parser.error(f"--device: {error}")
    environment["jobs"] = options.jobs
    print(", ".join(f"{key} {value}" for key, value in environment.items()), flush=True)
    shown = [pathlib.Path(text).name if text == options.data else text for text in arguments]
    command = shlex.join(["python", "-m", "benchmarks.quality", *shown])
    began, failures = time.perf_counter(), 0

    def say(text: str) -> None:
        print(f"[{time.perf_counter() - began:7.1f} s] {text}", file=sys.stderr, flush=True)

    for name in names:
        tasks = _tasks(name, options)
        wanted = [task for task in tasks if worker.result_of(task) is None]
        say(f"{questions.load(name).TITLE}: {len(wanted)} of {len(tasks)} tasks to do")
        try:
            failures += len(pool.run_all(wanted, options.jobs, say))
        except KeyboardInterrupt:
            say("stopped; the same command goes on from here")
            return 130
        content = record(name, tasks, command, environment)
        print(f"\n== {name}: {content['title']}\n\n{tables.all_tables(content)}", flush=True)
        folder = options.out if options.budget == "smoke" else results.ROOT / "benchmarks/results"
        file = options.json or folder / f"quality-{name}.json"
        results.write(file, content)
        print(f"\nresults: {file}")
        if options.picture:
            pictures.save(options.picture, content)
            print(f"picture: {options.picture}")
    print(f"{time.perf_counter() - began:.0f} s in all")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
