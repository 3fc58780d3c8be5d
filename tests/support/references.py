"""What a module imports, refers to and opens for writing, from its syntax tree."""

import ast
from collections.abc import Iterator
from pathlib import Path

READ_FLAGS = {
    f"os.{flag}"
    for flag in (
        "O_RDONLY",
        "O_CLOEXEC",
        "O_DIRECTORY",
        "O_NOCTTY",
        "O_NOFOLLOW",
        "O_NONBLOCK",
        "O_PATH",
    )
}


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the imported modules, and the names imported from those of `exporter`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, "no relative imports"
            assert "*" not in {alias.name for alias in node.names}
            yield node.module
            if node.module.partition(".")[0] == "exporter":
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def references(tree: ast.AST) -> Iterator[str]:
    """
    Yield the dotted names of imported objects that the code refers to.

    `from os import open as o; o(p)` and `import os; os.open(p)` are both `os.open`;
    a builtin is `builtins.` and its name.
    """
    names = _bound(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and (dotted := _dotted(node, names)):
            yield dotted
        elif isinstance(node, ast.Name) and node.id in {"eval", "exec", "__import__"}:
            yield f"builtins.{node.id}"


def writes(tree: ast.AST) -> Iterator[str]:
    """
    Yield each call that may open a file for writing.

    A call counts unless its mode or flags are literally for reading: those in a
    parameter or as a number count.
    """
    names = _bound(tree)
    variables = {
        target.id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = _dotted(node.func, names)
        if called in {"os.open", "exporter.kernel.syscalls.openat2"}:
            at = 1 if called == "os.open" else 2
            if not _only_reads(_argument(node, at, "flags"), names, variables):
                yield ast.unparse(node)
        elif called in {"builtins.open", "io.open", "os.fdopen"} or _is_method(node):
            at = 0 if _is_method(node) else 1
            mode = _argument(node, at, "mode")
            literal = mode.value if isinstance(mode, ast.Constant) else None
            if mode is not None and literal not in {"r", "rb"}:
                yield ast.unparse(node)


def _is_method(call: ast.Call) -> bool:
    """Return whether this is a method `open`, such as Path.open."""
    return (
        isinstance(call.func, ast.Attribute)
        and call.func.attr == "open"
        and not isinstance(call.func.value, ast.Name)
    )


def _argument(call: ast.Call, at: int, keyword: str) -> ast.expr | None:
    if len(call.args) > at:
        return call.args[at]
    return next((k.value for k in call.keywords if k.arg == keyword), None)


def _only_reads(
    flags: ast.expr | None, names: dict[str, str], variables: dict[str, ast.expr]
) -> bool:
    match flags:
        case ast.BinOp(op=ast.BitOr()):
            return all(
                _only_reads(side, names, variables)
                for side in (flags.left, flags.right)
            )
        case ast.Name(id=name) if name in variables:
            rest = {key: value for key, value in variables.items() if key != name}
            return _only_reads(variables[name], names, rest)
        case ast.Name() | ast.Attribute():
            return _dotted(flags, names) in READ_FLAGS
    return False


def _bound(tree: ast.AST) -> dict[str, str]:
    """Return the dotted name of each imported name."""
    names = {"open": "builtins.open"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                names[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    """Return the full name of `a.b.c` if `a` was imported, else ""."""
    if isinstance(node, ast.Name):
        return names.get(node.id, "")
    if isinstance(node, ast.Attribute):
        base = _dotted(node.value, names)
        return f"{base}.{node.attr}" if base else ""
    return ""


def parsed(path: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(path.read_text())
