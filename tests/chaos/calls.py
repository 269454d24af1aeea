"""Gate 8: nothing in the program runs text, asks a shell, or loads what pickles hold, by its syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.chaos.gate import ROOT, Effort, Outcome, gate

_CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.load", "pickle.loads", "pickle.Unpickler",
    "marshal.loads", "shelve.open", "yaml.load", "torch.load", "np.load", "numpy.load", "joblib.load", "dill.loads",
    "subprocess.getoutput", "subprocess.getstatusoutput", "os.spawnl", "os.execl", "pty.spawn", "input",
}  # fmt: skip
"""What runs text, or what pickles hold, or asks a shell to."""
_ALLOWED = {
    ("gpt/interop/unpickle.py", "torch.load"): "the import's own process, weights_only=True",
}
"""Where one of these stands, and why it may."""


@gate("8a", "access: no eval, exec, shell or pickle in the program", unit="calls")
def calls(effort: Effort) -> Outcome:
    """Every call in gpt/ and cockpit/, by its syntax tree."""
    count, findings, used = 0, [], set()
    for path in sorted([*(ROOT / "gpt").rglob("*.py"), *(ROOT / "cockpit").rglob("*.py")]):
        name = str(path.relative_to(ROOT))
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            count += 1
            called = ast.unparse(node.func)
            if called in _CALLS:
                used.add((name, called))
                if (name, called) not in _ALLOWED:
                    findings.append(f"{name}:{node.lineno} calls {called}")
            findings += [f"{name}:{node.lineno} {wrong}" for wrong in _wrong_words(called, node)]
    findings += [f"{name} no longer calls {called}" for name, called in _ALLOWED.keys() - used]
    return Outcome(
        count, findings, note=" · ".join(f"{called} in {name}: {why}" for (name, called), why in _ALLOWED.items())
    )


def _wrong_words(called: str, node: ast.Call) -> Iterator[str]:
    """What is wrong with a call's arguments."""
    for word in node.keywords:
        value = ast.unparse(word.value)
        if word.arg == "shell" and value != "False":
            yield "asks for a shell"
        if word.arg == "weights_only" and value != "True":
            yield f"unpickles with weights_only={value}"
        if word.arg == "trust_remote_code" and value != "False":
            yield "trusts code from elsewhere"
    if called == "torch.load" and not any(word.arg == "weights_only" for word in node.keywords):
        yield "unpickles without weights_only"
