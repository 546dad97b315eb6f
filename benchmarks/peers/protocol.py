"""How a peer talks to the benchmark that started it: a line of JSON in, a line of JSON out, until the input ends."""

import json
import os
import sys


def serve(tasks):
    """Answers requests {"task": name, ...} with tasks[name](**rest). A task that fails is answered with its reason."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to stderr
    for line in sys.stdin:
        request = json.loads(line)
        task = request.pop("task")
        try:
            reply = {"answer": tasks[task](**request)}
        except Exception as error:  # noqa: BLE001 - whatever it is, the benchmark shall hear of it
            reply = {"error": " ".join(f"{type(error).__name__}: {error}".split())}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()
