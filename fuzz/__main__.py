"""``python -m fuzz``: every target in a process of its own. See README.md."""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from fuzz.corpus import seeds, tokens
from fuzz.targets import TARGETS

ROOT = Path(__file__).parents[1]
MAXIMUM_INPUT = 66_000  # bytes; a little more than the longest message that is read
MAXIMUM_MEMORY = 1024  # megabytes, the fuzzer's own included
GRACE = 60  # seconds beyond its time in which a child must have ended
NOT_HERE = "atheris is not installed: pip install 'sipprofile[fuzz]', where there is a wheel for this platform"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Coverage-guided fuzzing of the parsers.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"one of {', '.join(TARGETS)}; all by default")
    parser.add_argument("--seconds", type=int, default=60, metavar="N", help="of all targets together (60)")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="the same inputs each time; 0: others each time"
    )
    parser.add_argument("--findings", type=Path, default=Path("build/fuzz"), metavar="DIR", help="(build/fuzz)")
    parser.add_argument("--input", type=Path, metavar="FILE", help="give one TARGET this input, without atheris")
    options = parser.parse_args()
    unknown = set(options.targets) - set(TARGETS)
    if unknown:
        parser.error(f"{unknown.pop()!r} is no target; choose from {', '.join(TARGETS)}")
    targets = options.targets or list(TARGETS)
    if options.input is not None:
        if len(targets) != 1:
            parser.error("--input wants one TARGET")
        TARGETS[targets[0]](options.input.read_bytes())
        return 0
    if importlib.util.find_spec("atheris") is None:
        print(NOT_HERE, file=sys.stderr)
        return 2
    seconds = max(1, -(-options.seconds // len(targets)))  # rounded up; 0 would be without end
    return max([fuzz(target, seconds, options.findings, options.seed) for target in targets])


def fuzz(target: str, seconds: int, findings: Path, number: int) -> int:
    """0 when the target held for so long, else 1; the input that broke it is then in ``findings``."""
    findings = findings.absolute()
    findings.mkdir(parents=True, exist_ok=True)
    before = set(findings.iterdir())
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder, "corpus")
        corpus.mkdir()
        for number, seed in enumerate(seeds(target)):
            (corpus / f"seed-{number}").write_bytes(seed)
        words = Path(folder, "words")
        words.write_text("".join(f'"{_escaped(token)}"\n' for token in tokens(target)))
        command = [
            *(sys.executable, "-m", "fuzz.child", target, str(corpus), f"-dict={words}"),
            *(f"-max_total_time={seconds}", f"-max_len={MAXIMUM_INPUT}", f"-rss_limit_mb={MAXIMUM_MEMORY}"),
            *(f"-seed={number}", "-timeout=20", f"-artifact_prefix={findings / target}-", "-print_final_stats=1"),
        ]
        environment = os.environ | ({"PYTHONHASHSEED": "0"} if number else {})
        child = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        try:
            output, _ = child.communicate(timeout=seconds + GRACE)
        except subprocess.TimeoutExpired:
            child.kill()
            output, _ = child.communicate()
            output += f"\nno end {GRACE} seconds after its time"
    executed = next((line.split()[-1] for line in output.splitlines() if "number_of_executed_units" in line), "0")
    found = sorted(set(findings.iterdir()) - before)
    if child.returncode == 0 and not found and executed != "0":
        print(f"{target}: {executed} inputs in {seconds} seconds, nothing found")
        return 0
    print(output[-6000:])
    print(f"{target}: FAILED (exit {child.returncode}) after {executed} inputs")
    for path in found:
        print(f"  replay it with: python -m fuzz {target} --input {path}")
    return 1


def _escaped(token: bytes) -> str:
    """A token as libFuzzer's dictionaries write it."""
    return "".join(f"\\x{byte:02x}" for byte in token)


if __name__ == "__main__":
    sys.exit(main())
