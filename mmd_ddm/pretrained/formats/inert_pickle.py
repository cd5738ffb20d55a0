"""Reading a pickle without running anything: what it would call is written down instead.

A pickle is a program for a small stack machine. `pickletools` of the standard library takes its instructions apart, and
here they build lists, dictionaries, numbers and strings as ever; but a class or function is a `Name`, and a call of one
is a `Made`: both are records that nothing calls. Names that the reader has no use for are refused.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from mmd_ddm.errors import UserError

_WRONG = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, MemoryError)
_VALUES = {  # instructions that put their own argument on the stack
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NOTHING = {"PROTO", "FRAME"}


@dataclass(frozen=True)
class Name:
    """A class or function, by its module and name."""

    text: str


@dataclass
class Made:
    """What a call would have made.

    Args:
        name: of the class or function.
        arguments: of the call.
        state: what would be set on the result; None if nothing.
        items: what would be put into it, if it were a dictionary.
    """

    name: str
    arguments: tuple[object, ...]
    state: object = None
    items: dict[Hashable, object] = field(default_factory=dict)


class _Mark:
    """Where a list of arguments begins on the stack."""


def read_inert(pickled: bytes, known: Callable[[str], bool]) -> object:
    """Read a pickle.

    Args:
        pickled: All of it; what follows its end is ignored.
        known: Whether a class or function, `module.name`, may occur.

    Returns:
        None, numbers, strings, bytes, lists (sets too), tuples, dictionaries, `Name` and `Made`.

    Raises:
        UserError: It names something that is not known, has instructions that no pickle of values has, or is damaged.
    """
    machine = _Machine(known)
    try:
        for instruction, argument, _ in pickletools.genops(pickled):
            if instruction.name == "STOP":
                return machine.stack.pop()
            machine.follow(instruction.name, argument)
    except UserError:  # a ValueError
        raise
    except _WRONG as error:
        raise UserError(f"the pickle is damaged ({str(error).partition(chr(10))[0] or type(error).__name__})") from None
    raise UserError("the pickle is damaged (it has no end)")


class _Machine:
    def __init__(self, known: Callable[[str], bool]) -> None:
        self.stack: list[object] = []
        self._memo: dict[int, object] = {}
        self._known = known

    def follow(self, name: str, argument: object) -> None:
        if name in _VALUES:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _TUPLES:
            self.stack[-_TUPLES[name] :] = [tuple(self._last(_TUPLES[name]))]
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            place = len(self._memo) if argument is None else argument
            assert isinstance(place, int)
            self._memo[place] = self.stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            assert isinstance(argument, int)
            self.stack.append(self._memo[argument])
        elif name == "GLOBAL":
            self._name(str(argument).replace(" ", ".", 1))
        elif name not in _NOTHING:
            handler = getattr(self, f"_{name.lower()}", None)
            if handler is None:
                raise UserError(f"the pickle has an instruction {name}, which no pickle of values has")
            handler()

    def _last(self, count: int) -> list[object]:
        if len(self.stack) < count:
            raise IndexError("stack underflow")
        return self.stack[-count:]

    def _to_mark(self) -> list[object]:
        place = max(i for i, each in enumerate(self.stack) if isinstance(each, _Mark))
        taken = self.stack[place + 1 :]
        del self.stack[place:]
        return taken

    def _name(self, text: str) -> None:
        if not self._known(text):
            raise UserError(f"the pickle names {text}, which is none of the few names that such files have")
        self.stack.append(Name(text))

    def _stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self._name(f"{module}.{name}")

    def _mark(self) -> None:
        self.stack.append(_Mark())

    def _pop(self) -> None:
        self.stack.pop()

    def _pop_mark(self) -> None:
        self._to_mark()

    def _dup(self) -> None:
        self.stack.append(self.stack[-1])

    def _empty_list(self) -> None:
        self.stack.append([])

    _empty_set = _empty_list  # of names: a list will do

    def _empty_tuple(self) -> None:
        self.stack.append(())

    def _empty_dict(self) -> None:
        self.stack.append({})

    def _list(self) -> None:
        self.stack.append(self._to_mark())

    _frozenset = _list

    def _tuple(self) -> None:
        self.stack.append(tuple(self._to_mark()))

    def _dict(self) -> None:
        taken: dict[Hashable, object] = {}
        _fill(taken, self._to_mark())
        self.stack.append(taken)

    def _append(self) -> None:
        self._extend([self.stack.pop()])

    def _appends(self) -> None:
        self._extend(self._to_mark())

    _additems = _appends

    def _extend(self, values: list[object]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise TypeError("values for something that is no list")
        target.extend(values)

    def _setitem(self) -> None:
        pair = self._last(2)
        del self.stack[-2:]
        _fill(self.stack[-1], pair)

    def _setitems(self) -> None:
        pairs = self._to_mark()
        _fill(self.stack[-1], pairs)

    def _reduce(self) -> None:
        arguments, made = self.stack.pop(), self.stack.pop()
        if not isinstance(made, Name) or not isinstance(arguments, tuple):
            raise TypeError("a call of something that is no function")
        self.stack.append(Made(made.text, arguments))

    _newobj = _reduce

    def _build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if not isinstance(target, Made):
            raise TypeError("a state for something that has none")
        target.state = state


def _fill(target: object, pairs: list[object]) -> None:
    items = target.items if isinstance(target, Made) else target
    if not isinstance(items, dict) or len(pairs) % 2:
        raise TypeError("pairs for something that is no dictionary")
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        if not isinstance(key, (str, bytes, int, float, type(None))):  # cheap to hash, which deep tuples are not
            raise TypeError("a key that is no name")
        items[key] = value
