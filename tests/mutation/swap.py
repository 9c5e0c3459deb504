"""Put a mutant into a running process: code and constants are replaced where they are used."""

import ast
import importlib
import sys
from types import CodeType, FunctionType, ModuleType

from tests.mutation.operators import Mutant


def module_name(file: str) -> str:
    """Return the dotted name of a source file of this tree."""
    return file.removesuffix(".py").replace("/", ".")


def swap(mutant: Mutant, source: bytes) -> bool:
    """Swap the mutant's function or constant in place; False where only an import would do.

    A constant that something was already made of at import keeps its old value there: such a
    mutant is judged again by an import when it survives.
    """
    if not mutant.function:
        return swap_value(mutant, source)
    module = importlib.import_module(module_name(mutant.file))
    function = find_function(module, mutant.function)
    whole = compile(mutant.applied(source), module.__file__ or mutant.file, "exec")
    code = find_code(whole, mutant.function)
    if function is None or code is None or code.co_freevars != function.__code__.co_freevars:
        return False
    function.__code__ = code
    return True


def find_function(module: ModuleType, qualname: str) -> FunctionType | None:
    """Return the plain function behind a function, method or property of a module."""
    here: object = module
    for part in qualname.split("."):
        here = vars(here).get(part)
        if here is None:
            return None
    if isinstance(here, property):
        here = here.fget
    elif isinstance(here, staticmethod | classmethod):
        here = here.__func__
    return here if isinstance(here, FunctionType) else None


def find_code(whole: CodeType, qualname: str) -> CodeType | None:
    """Return the code of a function by its qualified name."""
    for inner in whole.co_consts:
        if isinstance(inner, CodeType):
            if inner.co_qualname == qualname:
                return inner
            found = find_code(inner, qualname) if "." in qualname else None
            if found is not None:
                return found
    return None


def swap_value(mutant: Mutant, source: bytes) -> bool:
    """Swap a module's constant, or the default of a dataclass field."""
    module = importlib.import_module(module_name(mutant.file))
    body: list[ast.stmt] = ast.parse(mutant.applied(source)).body
    here: object = module
    while True:
        inside = [n for n in body if n.lineno <= mutant.line <= (n.end_lineno or n.lineno)]
        match inside:
            case [ast.ClassDef(name=name, body=inner)]:
                here, body = vars(here).get(name), inner
            case [ast.Assign(targets=[ast.Name(id=name)], value=value)] if here is module:
                return _constant(name, vars(module)[name], _evaluated(value, module))
            case [ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)]:
                return _default(here, name, _evaluated(value, module))
            case _:
                return False


def _evaluated(value: ast.expr, module: ModuleType) -> object:
    code = compile(ast.Expression(value), module.__file__ or "", "eval")
    return eval(code, vars(module))  # noqa: S307 - an expression of our own source


def _constant(name: str, old: object, new: object) -> bool:
    for module in list(sys.modules.values()):
        if vars(module).get(name) is old:
            setattr(module, name, new)
    return True


def _default(of: object, name: str, new: object) -> bool:
    made = vars(of).get("__init__") if isinstance(of, type) else None
    fields = getattr(of, "__dataclass_fields__", {})
    if not isinstance(made, FunctionType) or name not in fields:
        return False
    names = made.__code__.co_varnames[: made.__code__.co_argcount]
    defaults = list(made.__defaults__ or ())
    index = names.index(name) - len(names)
    if -index > len(defaults):
        return False
    defaults[index] = new
    made.__defaults__ = tuple(defaults)
    return True
