"""Fetches Math-Verify's source distribution and prints its published test cases as JSON lines.

Only literals are read out of its test files; nothing of it is run, and nothing is kept.
One line per case: {"file", "test", "gold", "pred", "expected"}.
"""

import ast
import json
import math
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VERSION = "0.9.0"
GOLD, PRED, EXPECTED = {"gold"}, {"pred"}, {"expected", "result"}


def literal(node):
    """The value of a literal; of an f-string only with `math` inside."""
    if isinstance(node, ast.JoinedStr):
        return eval(compile(ast.Expression(node), "case", "eval"), {"__builtins__": {}, "math": math})
    return ast.literal_eval(node)


def cases_of(path):
    for test in ast.walk(ast.parse(path.read_text())):
        if not isinstance(test, ast.FunctionDef):
            continue
        for decorator in test.decorator_list:
            if not isinstance(decorator, ast.Call) or ast.unparse(decorator.func) != "pytest.mark.parametrize":
                continue
            names = [name.strip() for name in literal(decorator.args[0]).split(",")]
            columns = {}
            for index, name in enumerate(names):
                for key, wanted in (("gold", GOLD), ("pred", PRED), ("expected", EXPECTED)):
                    if name in wanted:
                        columns[key] = index
                if name in ("strict", "allow_set_relation_comp"):
                    columns[name] = index
            if not {"gold", "pred", "expected"} <= columns.keys():
                continue  # a test of its own interface
            for row in decorator.args[1].elts:
                values = [literal(value) for value in row.elts]
                # Variants that are off by default there are another question than ours.
                if "strict" in columns and values[columns["strict"]] is False:
                    continue
                if "allow_set_relation_comp" in columns and values[columns["allow_set_relation_comp"]] is True:
                    continue
                yield {
                    "file": path.name,
                    "test": test.name,
                    "gold": values[columns["gold"]],
                    "pred": values[columns["pred"]],
                    "expected": bool(values[columns["expected"]]),
                }


def main():
    with tempfile.TemporaryDirectory() as folder:
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
        subprocess.run([*download, "--dest", folder, f"math-verify=={VERSION}"], check=True, stdout=sys.stderr)
        archive = next(Path(folder).glob("*.tar.gz"))
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        for path in sorted(Path(folder).glob("*/tests/test_*.py")):
            for case in cases_of(path):
                print(json.dumps(case))


if __name__ == "__main__":
    main()
